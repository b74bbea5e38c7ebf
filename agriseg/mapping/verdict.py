"""What the criteria of the verdict need to know of a finished map."""

from agriseg.mapping.pixel_counts import PixelCounts
from agriseg.mapping.prepare import MappingJob
from agriseg.maps.record import PixelTotals
from agriseg.model import SegmentationModel
from agriseg.verdict import TrainingFacts, VerdictInput


def training_facts(model: SegmentationModel) -> TrainingFacts:
    """What a model knows of its training."""
    return TrainingFacts(model.name, model.scale, model.mean, model.std, model.gsd, model.about)


def verdict_input(job: MappingJob, counts: PixelCounts, pixels: PixelTotals, seam_ratio: float | None) -> VerdictInput:
    """What is known of a finished map without labels."""
    sample = job.contract.sample
    return VerdictInput(
        training=training_facts(job.model),
        raster_gsd=job.info.gsd,
        gsd=job.options.gsd,
        sample_mean=sample.mean,
        sample_valid=sample.valid,
        sample_enough=sample.enough,
        pixels=pixels.total,
        predicted=pixels.predicted,
        nodata=pixels.nodata,
        failed=pixels.failed,
        doubtful=counts.doubtful,
        class_pixels=tuple(counts.area.pixels.tolist()),
        seam_ratio=seam_ratio,
    )
