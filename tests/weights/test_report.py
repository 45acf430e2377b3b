"""What a report says."""

from __future__ import annotations

from mrcnn.weights.report import WeightsError, WeightsReport, abbreviate


def test_only_what_there_is_is_said():
    assert str(WeightsReport("a.h5")) == "a.h5: 0 layers loaded"
    assert str(WeightsReport("a.h5", loaded=("conv1",))) == "a.h5: 1 layer loaded"


def test_every_kind_of_layer_has_its_words():
    report = WeightsReport(
        "a.h5",
        loaded=("conv1", "bn_conv1"),
        skipped=("anchors",),
        missing=tuple("abcde"),
        mismatched=(("mrcnn_mask", ((1, 1),), ((2, 2),)),),
        excluded=("mrcnn_bbox_fc",),
        unknown_excluded=("mrcnn_bbox",),
    )
    assert str(report) == (
        "a.h5: 2 layers loaded; 1 layer in the file only (anchors); 5 layers in the model only "
        "(a, b, c, d, …); 1 layer of another shape (mrcnn_mask); 1 layer excluded "
        "(mrcnn_bbox_fc); 1 layer in `exclude` but nowhere else (mrcnn_bbox)"
    )


def test_names_beyond_the_limit_become_an_ellipsis():
    assert abbreviate([]) == ""
    assert abbreviate("abcd") == "a, b, c, d"
    assert abbreviate("abcd", limit=2) == "a, b, …"


def test_an_error_carries_its_report():
    report = WeightsReport("a.h5")
    assert WeightsError("no", report).report is report and WeightsError("no").report is None
