"""The state of a labelling as the page reads it: values of JSON."""

from rasterio.warp import transform as warp

from agriseg.labelling.label import Label
from agriseg.labelling.session import Session
from agriseg.vectors.features import LONLAT


def page_state(session: Session) -> dict[str, object]:
    """The raster, the classes and all labels."""
    info, factor = session.field.info, session.tiles.first_factor
    where = info.georeference
    start = {"x": info.width / 2, "y": info.height / 2, "factor": factor}
    return {
        "name": info.path.name,
        "width": info.width,
        "height": info.height,
        "gsd_m": None if info.gsd is None else list(info.gsd),
        "crs": None if where.crs is None else where.crs.to_string(),
        "lonlat": _corners(session),
        "transform": None if where.crs is None else list(where.transform)[:6],
        "classes": [{"name": each.name, "colour": each.colour} for each in session.legend],
        "factors": list(session.field.factors),
        "start": start,
        "version": session.labels.version,
        "labels": [label_json(each) for each in session.labels.labels],
        "file": session.labels.path.name,
    }


def label_json(label: Label) -> dict[str, object]:
    """One label."""
    return {"id": label.id, "kind": label.kind, "class": label.class_name, "xy": label.xy}


def page_status(session: Session) -> dict[str, object]:
    """What has been learnt, and how far a job is."""
    number, learnt, job = session.learner.number, session.learner.learnt, session.jobs.state
    score = learnt.score
    return {
        "number": number,
        "version": session.labels.version,
        "head": learnt.head,
        "training": session.learner.training,
        "needs": learnt.needs,
        "counts": {name: {"labels": each.labels, "pixels": each.pixels} for name, each in learnt.counts.items()},
        "sure": learnt.sure,
        "known": learnt.known,
        "score": None if score is None else {"text": score.text, "classes": score.classes},
        "remarks": list(learnt.remarks),
        "job": None
        if job is None
        else {
            "kind": job.kind,
            "state": job.state,
            "progress": job.progress,
            "text": job.text,
            "report": "result/report.html" if job.kind == "finish" and job.state == "done" else None,
        },
    }


def _corners(session: Session) -> list[list[float]] | None:
    """Longitude and latitude of the corners from the upper left, clockwise; None without a CRS."""
    info = session.field.info
    where = info.georeference
    if where.crs is None:
        return None
    corners = [(0, 0), (info.width, 0), (info.width, info.height), (0, info.height)]
    places = [where.transform @ corner for corner in corners]
    lon, lat = warp(where.crs, LONLAT, [x for x, _ in places], [y for _, y in places])
    return [list(each) for each in zip(lon, lat, strict=True)]
