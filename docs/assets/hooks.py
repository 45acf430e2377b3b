"""What MkDocs (mkdocs.yml) is told in Python: pages of files outside docs/, and links to them.

A page of docs/ links to files of the repository as on GitHub. On the site, where only docs/ is,
such a link goes to the file's own page: a module's to its page of the Python API, all others' to a
page with their text. So every link works without network, and a dead one fails the build.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import generated  # beside this file
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
# Pages of the site whose text is elsewhere in the repository.
BORROWED = {
    "benchmarks.md": "benchmarks/README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "fixtures.md": "tests/fixtures/README.md",
    "nuclei_model.md": "mrcnn/nuclei-model/README.md",
    "security.md": "SECURITY.md",
}
# What a link to the code leads to, where the site has something better than its file.
BETTER = {
    "README.md": "index.md",
    "mrcnn/config.py": "every_setting.md",
    "mrcnn/commands": "commands.md",
}
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)\s#]*)(#[^)\s]*)?\)")
GITHUB = re.compile(r"\[([^\]]*)\]\(\.\./\.\./issues[^)]*\)")  # its own pages: the words stay
FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2", re.DOTALL | re.MULTILINE)
IMAGES = (".png", ".jpg", ".svg")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages of the API into the navigation, where it says `api/`."""
    config.nav = [_with_api(entry) for entry in config.nav or []]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, or borrowed from the repository, and those they link to."""
    made = {**generated.pages(ROOT), **{uri: _read(path) for uri, path in BORROWED.items()}}
    for uri, content in made.items():
        files.append(File.generated(config, uri, content=content))
    texts = [file for file in files if file.src_uri.endswith(".md")]
    for path in sorted({path for file in texts for path in _sources(file)}):
        content = generated.source_page(ROOT, path)
        files.append(File.generated(config, _source_uri(path), content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to pages of the site."""
    uri = page.file.src_uri

    def replaced(match: re.Match[str]) -> str:
        target, fragment = match.group(1), match.group(2) or ""
        path = _repository_path(uri, target)
        return f"]({posixpath.relpath(_page_of(path), posixpath.dirname(uri) or '.')}{fragment})"

    return _outside_code(LINK, replaced, _outside_code(GITHUB, r"\1", markdown))


def _with_api(entry: Any) -> Any:
    if isinstance(entry, dict):
        return {
            title: generated.api_navigation(ROOT) if content == "api/" else _each(content)
            for title, content in entry.items()
        }
    return entry


def _each(content: Any) -> Any:
    return [_with_api(entry) for entry in content] if isinstance(content, list) else content


def _read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def _repository_path(uri: str, target: str) -> str:
    """Where in the repository a link of a page leads."""
    own = BORROWED.get(uri, f"docs/{uri}")
    return posixpath.normpath(posixpath.join(posixpath.dirname(own), target))


def _page_of(path: str) -> str:
    """The site's page, or file, of a path of the repository, below docs/."""
    for uri, borrowed in BORROWED.items():
        if path == borrowed:
            return uri
    if path in BETTER:
        return BETTER[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path == "mrcnn" or path.startswith("mrcnn/"):
        uri = generated.api_uri(path)
        if (ROOT / path).exists():
            return uri
    return _source_uri(path)


def _source_uri(path: str) -> str:
    return f"source/{path}.md"


def _sources(file: File) -> Iterator[str]:
    """The files of the repository that a page links to, and that need a page of their own."""
    for match in LINK.finditer(GITHUB.sub("", FENCE.sub("", file.content_string))):
        path = _repository_path(file.src_uri, match.group(1))
        if path.endswith(IMAGES):
            continue
        if _page_of(path).startswith("source/"):
            if not (ROOT / path).exists():
                raise PluginError(f"{file.src_uri} links to {match.group(1)}, which is not there.")
            yield path


def _outside_code(pattern: re.Pattern[str], replace: Any, markdown: str) -> str:
    """Replace in the text of a page, and leave its blocks of code alone."""
    parts, last = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [pattern.sub(replace, markdown[last : fence.start()]), fence.group()]
        last = fence.end()
    return "".join([*parts, pattern.sub(replace, markdown[last:])])
