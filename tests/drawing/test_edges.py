"""Pictures of edge agreement: what is drawn is what the loss computes."""

from __future__ import annotations

import numpy as np
import pytest
from keras import ops
from matplotlib.figure import Figure
from PIL import Image

from mrcnn.drawing import edges as drawing_edges
from mrcnn.drawing.edge_comparison import SMOOTHING, ErrorMeasure
from mrcnn.ops import edges
from mrcnn.ops.edge_filters import FILTERS
from mrcnn.ops.edge_settings import EdgeSettings


@pytest.fixture
def masks() -> tuple[np.ndarray, np.ndarray]:
    """Two soft predictions and two disks, [2, 12, 12]."""
    y, x = np.mgrid[:12, :12]
    disk = (np.hypot(y - 5, x - 6) < 4).astype(np.float32)
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (2, 12, 12))
    return np.clip(np.stack([disk, np.roll(disk, 2, axis=1)]) + noise, 0, 1), np.stack([disk] * 2)


def maps(figure: Figure) -> dict[str, np.ndarray]:
    """The drawn error maps by filter and row."""
    drawn = {ax.get_gid(): ax for ax in figure.axes if ax.get_gid()}
    return {gid.removeprefix("error "): ax.images[0].get_array() for gid, ax in drawn.items()}


def titles(figure: Figure) -> list[str]:
    return [ax.get_title() for ax in figure.axes]


def loss(masks, **settings) -> np.ndarray:
    return ops.convert_to_numpy(edges.roi_edge_agreement(*masks, EdgeSettings(**settings)))


@pytest.mark.parametrize(
    ("kind", "smoothing", "options"),
    [
        ("none", {}, {"norm": "l1"}),
        ("groundtruth", {"smoothing_gt": True}, {"norm": "l2", "magnitude": True}),
        ("predictions", {"smoothing_predictions": True}, {"norm": "l2"}),
        ("both", {"smoothing_gt": True, "smoothing_predictions": True}, {"norm": 3.5}),
    ],
)
def test_the_drawn_errors_have_the_loss_as_their_mean(masks, kind, smoothing, options):
    names, measure = ("sobel", "sobel+laplace"), ErrorMeasure(**options)
    pair = drawing_edges.pair_figure(
        masks[0][1], masks[1][1], names, measure=measure, smoothing=[kind]
    )
    page = drawing_edges.instances_figure(*masks, names, measure=measure, smoothing=kind)
    assert len(maps(pair)) == 2 and len(maps(page)) == 4
    for name in names:
        expected = loss(masks, filters=name, **options, **smoothing)
        assert maps(pair)[f"{name} {kind}"].mean() == pytest.approx(expected[1], rel=1e-5)
        assert any(f"loss {expected[1]:.4g}" in title for title in titles(pair))
        for i in range(2):
            assert maps(page)[f"{name} {i}"].mean() == pytest.approx(expected[i], rel=1e-5)
            assert any(f"{expected[i]:.4g}" in title for title in titles(page))


def test_the_rows_of_a_filter_share_their_scale(masks):
    pair = drawing_edges.pair_figure(
        masks[0][0], masks[1][0], ["sobel"], smoothing=tuple(SMOOTHING)
    )
    limits = [ax.images[0].get_clim() for ax in pair.axes if ax.get_gid()]
    assert len(limits) == 4 and len(set(limits)) == 1
    assert limits[0][1] == max(error.max() for error in maps(pair).values())


def test_a_single_filter_is_drawn_with_its_sign_on_one_scale(masks):
    figure = drawing_edges.pair_figure(masks[0][0], masks[1][0], ["laplace"])
    drawn = [ax.images[0] for ax in figure.axes if ax.get_title().startswith("edges of")]
    expected = drawing_edges.compare_edges(*masks, "laplace")
    for image, maps_of_both in zip(drawn, (expected.predicted, expected.target), strict=True):
        # A convolution of one image may sum in another order than that of two.
        np.testing.assert_allclose(image.get_array(), maps_of_both[0, ..., 0], rtol=1e-5, atol=1e-5)
    assert drawn[0].get_clim() == drawn[1].get_clim()
    assert drawn[0].get_clim()[0] == -drawn[0].get_clim()[1] < 0


def test_several_filters_are_drawn_as_the_length_of_their_responses(masks):
    figure = drawing_edges.pair_figure(
        masks[0][0], masks[1][0], ["sobel"], measure=ErrorMeasure(magnitude=True)
    )
    drawn = next(ax for ax in figure.axes if ax.get_title() == "edges of prediction")
    magnitude = drawing_edges.compare_edges(
        *masks, "sobel", ErrorMeasure(magnitude=True)
    ).predicted[0, ..., 2]
    np.testing.assert_allclose(drawn.images[0].get_array(), magnitude, atol=2e-3)


def test_a_magnitude_alone_is_drawn_and_measured(masks):
    measure = ErrorMeasure(magnitude="only")
    figure = drawing_edges.pair_figure(masks[0][0], masks[1][0], ["sobel"], measure=measure)
    drawn = next(ax for ax in figure.axes if ax.get_title() == "edges of prediction")
    both = drawing_edges.compare_edges(*masks, "sobel", measure)
    assert both.predicted.shape[-1] == 1
    expected = both.predicted[0, ..., 0]  # of two masks, whose sums may have another order
    np.testing.assert_allclose(drawn.images[0].get_array(), expected, rtol=1e-5, atol=1e-5)
    assert any("magnitude alone" in text.get_text() for text in figure.texts)


def test_instances_of_a_column_share_their_scale(masks):
    figure = drawing_edges.instances_figure(*masks, ["sobel", "kayyali"])
    limits = {ax.get_gid(): ax.images[0].get_clim() for ax in figure.axes if ax.get_gid()}
    assert limits["error sobel 0"] == limits["error sobel 1"] != limits["error kayyali 1"]


def test_images_titles_and_equal_masks_are_drawn(masks, tmp_path):
    target = masks[1]
    images = [np.zeros((20, 30, 3), np.uint8), np.full((7, 5, 3), 200, np.uint8)]
    figure = drawing_edges.instances_figure(
        target, target, ["roberts"], images=images, titles=["person\n0.93", "cup"]
    )
    assert all(not error.any() for error in maps(figure).values())
    texts = [text.get_text() for text in figure.texts]
    assert "person\n0.93" in texts and "cup" in texts
    path = drawing_edges.save(figure, tmp_path / "new" / "page.png")
    width, height = figure.get_size_inches() * figure.dpi
    assert Image.open(path).size == (int(width), int(height))
    pair = drawing_edges.pair_figure(target[0], target[0], ["roberts"], image=images[0], title="x")
    assert Image.open(drawing_edges.save(pair, tmp_path / "pair.png")).width > 100


def test_the_outlines_are_explained_where_there_is_an_image(masks):
    predicted, target = masks
    image = np.zeros((20, 30, 3), np.uint8)
    with_image = (
        drawing_edges.pair_figure(predicted[0], target[0], ["sobel"], image=image),
        drawing_edges.instances_figure(predicted, target, ["sobel"], images=[image] * 2),
    )
    for figure in with_image:
        (legend,) = figure.legends
        lines, texts = legend.get_lines(), legend.get_texts()
        explained = {
            text.get_text(): line.get_color() for text, line in zip(texts, lines, strict=True)
        }
        assert explained == {
            "prediction": drawing_edges.PREDICTION_COLOR,
            "ground truth": drawing_edges.TRUTH_COLOR,
        }
        figure.canvas.draw()
        extent = legend.get_window_extent()
        others = [ax.get_window_extent() for ax in figure.axes]
        others += [text.get_window_extent() for ax in figure.axes for text in [ax.title]]
        others += [text.get_window_extent() for text in figure.texts]
        assert not any(extent.overlaps(other) for other in others if other.width)
        assert 0 <= extent.x0 and extent.x1 <= figure.bbox.x1
    assert not drawing_edges.pair_figure(predicted[0], target[0], ["sobel"]).legends


@pytest.mark.parametrize(("norm", "scale"), [("l1", 1), ("l5", 1e-4), ("20", 1)])
def test_numbers_of_the_color_bars_do_not_collide(masks, norm, scale):
    predicted, target = masks
    predicted = target + scale * (predicted - target)
    measure, filters = ErrorMeasure(norm), drawing_edges.FILTER_SETS
    for figure in (
        drawing_edges.instances_figure(predicted, target, filters, measure=measure),
        drawing_edges.pair_figure(predicted[0], target[0], filters, measure=measure),
    ):
        figure.canvas.draw()
        labels = [  # other axes have none
            label.get_window_extent()
            for ax in figure.axes
            if ax.axison
            for label in (*ax.get_xticklabels(), *ax.get_yticklabels())
            if label.get_text()
        ]
        assert len(labels) >= 3 * len(filters)
        for i, label in enumerate(labels):
            assert not any(label.overlaps(other) for other in labels[:i])
            assert 0 <= label.x0 and label.x1 <= figure.bbox.x1 and label.y0 >= 0


def test_kernels_are_written_as_numbers():
    figure = drawing_edges.kernels_figure()
    drawn = {ax.get_title(): ax for ax in figure.axes}
    for name, kernel in FILTERS.items():
        np.testing.assert_array_equal(drawn[name].images[0].get_array(), kernel)
    assert [text.get_text() for text in drawn["sobel-x"].texts[:3]] == ["1", "0", "-1"]
    gaussian = drawn["Gaussian (smoothing)"]
    assert gaussian.images[0].get_array().sum() == pytest.approx(1, abs=1e-3)
    assert gaussian.texts[4].get_text() == "0.1953"


def test_unusable_arguments_are_sentences(masks):
    predicted, target = masks
    with pytest.raises(ValueError, match=r"one shape.*\(2, 12, 12\) and \(2, 12, 11\)"):
        drawing_edges.compare_edges(predicted, target[..., 1:])
    with pytest.raises(ValueError, match="groundtruth"):
        drawing_edges.compare_edges(predicted, target, smoothing="gt")
    with pytest.raises(ValueError, match=r"\[height, width\]"):
        drawing_edges.pair_figure(predicted, target)
    with pytest.raises(ValueError, match="titles: expected one for each of the 2 pairs"):
        drawing_edges.instances_figure(predicted, target, titles=["one"])
    with pytest.raises(ValueError, match="Valid: sobel-x"):
        drawing_edges.pair_figure(predicted[0], target[0], ["scharr"])
    with pytest.raises(ValueError, match="magnitude"):
        drawing_edges.pair_figure(
            predicted[0], target[0], ["laplace"], measure=ErrorMeasure(magnitude=True)
        )
