"""Files that are not weights, or no longer."""

from __future__ import annotations

import zipfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mrcnn.weights.matterport import load_weights
from mrcnn.weights.reading import open_weights
from mrcnn.weights.report import WeightsError
from tests.weights.networks import assert_same, build, edit, values


def test_a_weights_file_is_open_for_reading_only(saved):
    with open_weights(str(saved)) as file:
        assert "layer_names" in file.attrs
        with pytest.raises((OSError, ValueError, KeyError)):
            file.create_group("new")
    assert not file  # closed


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.h5"):
        load_weights(build(), tmp_path / "gone.h5")


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", bytes(5000)])
def test_a_file_that_is_not_hdf5(tmp_path, content):
    (tmp_path / "page.h5").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"page\.h5.*HDF5.*{len(content)} bytes"):
        load_weights(build(), tmp_path / "page.h5")


@settings(max_examples=15, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(part=st.floats(0.001, 0.999))
def test_a_truncated_file(saved, part):
    content = saved.read_bytes()
    cut = saved.with_name("cut.h5")
    cut.write_bytes(content[: int(len(content) * part)])
    with pytest.raises(WeightsError, match=r"cut\.h5"):
        load_weights(build(), cut)


def test_a_file_that_lacks_a_dataset(saved):
    model, kept = build(seed=1), values(build(seed=1))
    with pytest.raises(WeightsError, match=r"weights\.h5.*damaged.*bias"):
        load_weights(model, edit(saved, lambda file: file.__delitem__("conv1/conv1/bias:0")))
    assert_same(values(model), kept)


def test_an_archive_without_weights_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
    with pytest.raises(WeightsError, match=r"model\.keras.*archive.*holds no model\.weights"):
        load_weights(build(), tmp_path / "model.keras")
