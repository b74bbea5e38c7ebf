"""What `agriseg label` computes: features by block, the head on them, its score, tiles and the next place."""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import shapely
import torch
from conftest import write_raster
from hypothesis import given, settings
from hypothesis import strategies as st
from test_clicks import field as synthetic
from test_clicks import spread

from agriseg.grid import Window
from agriseg.labelling.encoder import STRIDES, BlockFeatures, Encoder
from agriseg.labelling.field import BLOCK, TILE, Field, Statistics
from agriseg.labelling.head_map import COARSE, BlockMap, HeadMap
from agriseg.labelling.held_back import TOO_FEW, HeldBackScore, score_held_back
from agriseg.labelling.image_tiles import ImageTiles
from agriseg.labelling.label import Label
from agriseg.labelling.labelled_cells import CellReader, drawn_labels
from agriseg.labelling.next_place import next_place
from agriseg.labelling.pixel_head import CELL, LabelledCells, hypercolumns, train_head
from agriseg.legend import Legend
from agriseg.networks.normalization import Normalization
from agriseg.raster.header import RasterInfo
from agriseg.raster.reader import Source
from agriseg.raster.valid_mask import ValidityRule

CLASSES = ("soil", "crop", "weed")
CHANNELS = (3, 4, 5, 6, 7)


class Backbone(torch.nn.Module):
    """Means of the input at each stride, in as many channels: small, and it sees nothing beyond its cell."""

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        pooled = [torch.nn.functional.avg_pool2d(x, stride) for stride in STRIDES]
        return [each.repeat(1, 3, 1, 1)[:, :count] for each, count in zip(pooled, CHANNELS, strict=True)]


def field_of(path: Path) -> Field:
    info = RasterInfo.read(path)
    source = Source(info, (1, 2, 3), ValidityRule.of(info), info.width, info.height)
    return Field(source, ("red", "green", "blue"), (0, 1, 2), Statistics.of(source))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    discs = [(k, x * 2, y * 2, r) for k, x, y, r in spread(60, 600, np.random.default_rng(0))]
    pixels, _ = synthetic(1100, 1200, discs, 0)
    pixels[:, 900:, 1000:] = 0
    return write_raster(tmp_path_factory.mktemp("raster") / "field.tif", pixels, photometric="rgb", nodata=0)


@pytest.fixture(scope="module")
def field(path: Path) -> Field:
    return field_of(path)


def encoder_of(field: Field, folder: Path) -> Encoder:
    numbers = field.statistics
    normalization = Normalization(1.0, tuple(numbers.mean.tolist()), tuple(numbers.std.tolist()))
    return Encoder(field, Backbone(), normalization, folder)


def test_features_are_the_same_from_memory_and_from_disk(
    field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agriseg.labelling.encoder._IN_MEMORY", 2)
    encoder, fresh = encoder_of(field, tmp_path), {}
    keys = [(row, col) for row in range(field.blocks[0]) for col in range(field.blocks[1])]
    for key in keys:
        fresh[key] = encoder.features(*key)
    for number in np.random.default_rng(0).permutation(30):
        key = keys[number % len(keys)]
        again = encoder.features(*key)
        assert all(np.array_equal(*pair) for pair in zip(again.maps, fresh[key].maps, strict=True))
        assert np.array_equal(again.valid, fresh[key].valid)
    assert list(tmp_path.iterdir())
    assert encoder.known == frozenset(keys)
    encoder.close()


def test_blocks_join_to_the_whole(field: Field, tmp_path: Path) -> None:
    """What a block says at a stride is the mean of its own pixels, also at the seams and at the raster's edges."""
    encoder, numbers = encoder_of(field, tmp_path), field.statistics
    from conftest import read

    pixels = read(field.info.path).astype(np.float64)
    valid = (pixels != 0).any(0)
    x = np.where(valid, (pixels - numbers.mean[:, None, None]) / numbers.std[:, None, None], 0)
    for row in range(field.blocks[0]):
        for col in range(field.blocks[1]):
            features, window = encoder.features(row, col), field.block(row, col)
            part = np.zeros((3, BLOCK, BLOCK))
            part[:, : window.height, : window.width] = x[
                :, window.row_off : window.row_stop, window.col_off : window.col_stop
            ]
            for stride, values in zip(STRIDES, features.maps, strict=True):
                means = part.reshape(3, BLOCK // stride, stride, BLOCK // stride, stride).mean((2, 4))
                assert np.abs(values[:3] - means).max() < 0.01
            assert (
                features.valid.sum() == valid[window.row_off : window.row_stop, window.col_off : window.col_stop].sum()
            )
    encoder.close()


def features_of(rng: np.random.Generator) -> BlockFeatures:
    maps = tuple(
        rng.standard_normal((count, BLOCK // stride, BLOCK // stride)).astype(np.float16)
        for count, stride in zip(CHANNELS, STRIDES, strict=True)
    )
    return BlockFeatures(maps, np.ones((BLOCK, BLOCK), bool))


def test_a_block_is_mapped_as_its_cells_are(  # the first layer is applied before enlarging, or after
) -> None:
    rng = np.random.default_rng(0)
    features = features_of(rng)
    rows, cols = (rng.integers(0, BLOCK // CELL, 400) for _ in range(2))
    columns = hypercolumns(features, rows, cols)
    cells = LabelledCells(columns, rng.integers(0, 3, 400), np.stack([rows, cols], 1))
    head = train_head(cells, CHANNELS, 3)
    with torch.inference_mode():
        one_by_one = head(torch.from_numpy(columns)).numpy()
    whole = head.logits(features).numpy()
    assert np.abs(whole[:, rows, cols].T - one_by_one).max() < 1e-3
    again = train_head(cells, CHANNELS, 3)
    assert all(torch.equal(one, other) for one, other in zip(head.parameters(), again.parameters(), strict=True))


@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_cells_that_are_kept_are_those_read_anew(
    path: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    field = field_of(path)
    encoder = encoder_of(field, tmp_path_factory.mktemp("features"))
    reader, labels = CellReader(field, encoder), a_lot_of_labels()
    for _ in range(3):
        some = data.draw(st.lists(st.sampled_from(labels), max_size=12, unique_by=lambda label: label.id))
        drawn = drawn_labels(field, some, CLASSES, None)
        kept, anew = reader.cells(drawn), CellReader(field, encoder).cells(drawn)
        assert (kept is None) == (anew is None)
        if kept is not None and anew is not None:
            assert all(np.array_equal(*pair) for pair in zip(vars(kept).values(), vars(anew).values(), strict=True))
    encoder.close()


def a_lot_of_labels() -> list[Label]:
    rng = np.random.default_rng(4)
    made: list[Label] = []
    for number in range(24):
        x, y = rng.uniform(0, 1200), rng.uniform(0, 1100)
        name = CLASSES[number % 3]
        kinds = {
            "point": shapely.Point(x, y), "line": shapely.LineString([(x, y), (x + 80, y + 50)]),
            "polygon": shapely.box(x, y, x + 60, y + 90), "area": shapely.box(x - 100, y - 100, x + 100, y + 100),
        }  # fmt: skip
        kind = list(kinds)[number % 4]
        made.append(Label(str(number), kind, None if kind == "area" else name, kinds[kind]))  # type: ignore[arg-type]
    return made


def scored(features: np.ndarray, ids: np.ndarray, place: np.ndarray) -> HeldBackScore:
    score = score_held_back(LabelledCells(features, ids, place), CHANNELS, CLASSES, nullcontext())
    assert score is not None
    return score


def test_the_score_is_that_of_unseen_ground() -> None:
    rng = np.random.default_rng(0)
    place = rng.integers(0, 2000, (3000, 2))
    ids = rng.integers(0, 3, 3000)
    noise = rng.standard_normal((3000, sum(CHANNELS))).astype(np.float32)
    told = noise.copy()
    told[np.arange(3000), ids] += 8
    assert (scored(told, ids, place).mean or 0) > 0.97
    guess = scored(noise, ids, place).mean
    assert guess is not None
    assert abs(guess - 1 / 3) < 0.1
    square = (place // 128)[:, 0] * 1000 + (place // 128)[:, 1]
    own = noise.copy()  # features tell the square, and the square tells the class: nothing of that helps elsewhere
    own[:, :3] += np.random.default_rng(1).standard_normal((20_000, 3))[square % 20_000] * 10
    fooled = scored(own, square % 3, place).mean
    assert fooled is not None
    assert fooled < 0.6


def test_too_few_labels_to_say() -> None:
    rng = np.random.default_rng(0)
    place = np.concatenate([rng.integers(0, 2000, (300, 2)), rng.integers(0, 20, (50, 2))])
    ids = np.repeat([0, 1], [300, 50])
    score = scored(rng.random((350, 25), np.float32), ids, place)
    assert score.classes["soil"] is not None
    assert score.classes["crop"] is None
    assert score.classes["weed"] is None
    assert score.text == TOO_FEW


@pytest.mark.parametrize("factor", [1, 2, 4, 16])
def test_tiles_are_means_of_the_raster(tmp_path: Path, factor: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that are cut from the picture of all."""
    monkeypatch.setattr(Field, "factors", (1, 2, 4, 8, 16))
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 255, (3, 700, 900)).astype(np.uint8)
    pixels[:, :64, :64] = 0
    field = field_of(write_raster(tmp_path / "field.tif", pixels, nodata=0))
    tiles = ImageTiles(field)
    window = field.tile(factor, 0, 0)
    assert window is not None
    cells = tiles._means(factor, window)
    assert not cells.valid[: 64 // factor, : 64 // factor].any()
    rows, cols = min(256, 700 // factor), min(256, 900 // factor)
    kept = pixels[:, : rows * factor, : cols * factor].astype(float).reshape(3, rows, factor, cols, factor)
    wanted = kept.mean((2, 4))
    wanted[:, : 64 // factor, : 64 // factor] = 0
    assert np.abs(cells.means[:, :rows, :cols] - wanted).max() < 1e-3
    tiles.close()


def test_tiles_of_the_map_join(field: Field, tmp_path: Path) -> None:
    """Each factor shows the same classes at the same places, and nothing beyond the raster or without data."""
    import io

    from PIL import Image

    encoder = encoder_of(field, tmp_path)
    drawn_map = HeadMap(field, encoder, Legend.from_names(list(CLASSES)))
    reader = CellReader(field, encoder)
    cells = reader.cells(drawn_labels(field, a_lot_of_labels(), CLASSES, None))
    assert cells is not None
    drawn_map.use(train_head(cells, CHANNELS, 3))
    whole = {}
    for factor in (1, 2, 4):
        side = TILE * factor
        rows, cols = -(-1100 // side), -(-1200 // side)
        made = np.full((rows * TILE, cols * TILE), 255, np.uint8)
        for row in range(rows):
            for col in range(cols):
                content = drawn_map.tile(factor, col, row)
                assert content is not None
                place = np.s_[row * TILE : (row + 1) * TILE, col * TILE : (col + 1) * TILE]
                made[place] = np.asarray(Image.open(io.BytesIO(content)))
        whole[factor] = made
    assert (whole[1][1100:] == 255).all()
    assert (whole[1][900:1100, 1000:] == 255).all()
    assert (whole[1][:900, :1200] < 3).all()
    assert np.array_equal(whole[2][:550, :600], whole[1][:1100:2, :1200:2])
    assert np.array_equal(whole[4][:275, :300], whole[1][:1100:4, :1200:4])
    encoder.close()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_next_place_is_on_the_raster_and_has_no_label(path: Path, seed: int) -> None:
    field, rng = field_of(path), np.random.default_rng(seed)
    side = BLOCK // COARSE
    blocks = {}
    for row in range(field.blocks[0]):
        for col in range(field.blocks[1]):
            shares = rng.dirichlet(np.ones(3) * rng.uniform(0.1, 3), (side, side)).transpose(2, 0, 1)
            valid = np.ones((side, side), bool)
            ids = np.zeros((BLOCK // CELL, BLOCK // CELL), np.uint8)
            blocks[row, col] = BlockMap(1, ids, shares.astype(np.float16), valid, 0.5)
    labels = a_lot_of_labels()[: int(rng.integers(0, 6))]
    view = Window(0, 0, int(rng.integers(100, 300)), int(rng.integers(100, 300)))
    place = next_place(field, blocks, labels, Legend.from_names(list(CLASSES)), view)
    assert place is not None
    window = place.window
    box = shapely.box(window.col_off, window.row_off, window.col_stop, window.row_stop)
    assert window.col_stop <= 1200 + COARSE
    assert window.row_stop <= 1100 + COARSE
    assert not any(label.shape.intersects(box) for label in labels)
    assert place.why


def test_an_encoder_that_is_replaced_while_it_computes_leaves_nothing(field: Field, tmp_path: Path) -> None:
    """Features are those of the encoder that is used at the end, whenever it came."""

    class Replaced(Backbone):
        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            if encoder.generation == 0:
                encoder.use(Backbone(), normalization)
            return [each + 1 for each in super().forward(x)]

    normalization = Normalization(1.0, (0.0,) * 3, (255.0,) * 3)
    encoder = encoder_of(field, tmp_path)
    encoder._backbone, encoder._normalization = Replaced(), normalization
    found = encoder.features(0, 0)
    other = Encoder(field, Backbone(), normalization, tmp_path / "other")
    assert all(np.array_equal(*pair) for pair in zip(found.maps, other.features(0, 0).maps, strict=True))
    for each in (encoder, other):
        each.close()
