"""Star imports bring the names that Matterport's modules had, and load nothing for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mrcnn.matterport.module_names import LazyModule

REPOSITORY = Path(__file__).resolve().parents[2]

# What each of the ancestors' modules imports under a name of its own: 2.0, 2.1 and the edge
# agreement fork. `LooseVersion` is left out: Python has dropped it.
NAMES = {
    "model": "os random datetime re math logging OrderedDict multiprocessing np skimage tf keras "
    "K KL KE KM utils",
    "utils": "sys os logging math random np tf scipy skimage urllib shutil warnings",
    "visualize": "os sys logging random itertools colorsys np find_contours plt patches lines "
    "Polygon IPython utils cv2",
    "config": "np",
}


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("module", ["utils", "visualize", "config"])
def test_the_names_are_there_and_cost_nothing(module: str):
    loaded = run(
        f"from mrcnn.{module} import *\n"
        f"for name in {NAMES[module].split()!r}: assert name in globals(), name\n"
        "import sys\n"
        "print(*sys.modules.keys() & {'tensorflow', 'keras', 'cv2', 'IPython'})"
    )
    assert loaded.split() == []


def test_the_names_can_be_used():
    run(
        "from mrcnn.model import *\n"
        f"for name in {NAMES['model'].split()!r}: assert name in globals(), name\n"
        "from mrcnn.visualize import *\n"
        "from mrcnn.utils import *\n"
        "assert np.zeros(3).sum() == 0 and os.path.join('a', 'b') and re.match('a', 'ab')\n"
        "assert utils.extract_bboxes(np.ones((2, 3, 1))).tolist() == [[0, 0, 2, 3]]\n"
        "assert issubclass(ProposalLayer, KE.Layer) and KL.Conv2D and KM.Model is keras.Model\n"
        "assert K.epsilon() > 0 and EdgeAgreementHead(name='edges').name == 'edges'\n"
        "assert find_contours(np.eye(4), 0.5) and plt.figure() and patches.Rectangle\n"
        "assert lines.Line2D and Polygon and IPython.display.display and colorsys.rgb_to_hsv\n"
        "assert skimage.color.gray2rgb(np.zeros((2, 2))).shape == (2, 2, 3)\n"
        "assert skimage.io.imread and scipy.ndimage.zoom and urllib.request.urlopen\n"
        "assert tf.constant(3).numpy() == 3 and tf.__version__ and cv2.resize\n"
        "import mrcnn.model, mrcnn.visualize\n"
        "assert mrcnn.model.utils is mrcnn.visualize.utils is mrcnn.utils\n"
    )


def test_a_package_that_is_missing_is_named_when_it_is_used():
    missing = LazyModule("no_such_package")
    assert not hasattr(missing, "__wrapped__")  # Python's own question imports nothing
    with pytest.raises(ModuleNotFoundError, match="no_such_package.*pip install no_such_package"):
        missing.anything  # noqa: B018


def test_its_attributes_are_the_modules():
    lazy = LazyModule("math")
    assert lazy.pi and "sqrt" in dir(lazy)
    with pytest.raises(AttributeError, match="no_such_name"):
        lazy.no_such_name  # noqa: B018
