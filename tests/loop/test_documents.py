"""What the documents point at is there: links, anchors, files, and the sentences they say the log has."""
import ast
import collections
import glob
import html
import pathlib
import re
import shutil
import sys
import urllib.parse

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATTERNS = ('README.md', 'CHANGELOG.md', 'docs/**/*.md', 'examples/**/README.md', 'bench/*.md')
DOCUMENTS = sorted({path for pattern in PATTERNS for path in ROOT.glob(pattern)})

FENCE = re.compile(r'^(```+).*?^\1$', re.M | re.S)
INLINE_CODE = re.compile(r'(`+)(.+?)\1')
LINK = re.compile(r'\[[^\]]*\]\(([^)\s]*)(?:\s+"[^"]*")?\)|^\[[^\]]+\]:\s+(\S+)', re.M)
WRITTEN = {'bench/results.json'}  # By `make bench`.
A_FILE = re.compile(r'(?:plugin|suspend|tests|tools|bench|docs|examples|typing|\.ci)/[\w./-]+')


def name_of(path):
    return str(path.relative_to(ROOT))


def prose(path):
    """The text without blocks of code."""
    return FENCE.sub('', path.read_text())


def anchors(path):
    """As GitHub makes them of headings."""
    found = collections.Counter()
    names = set()
    for heading in re.findall(r'^#{1,6}\s+(.*?)\s*#*$', prose(path), re.M):
        text = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading)
        name = re.sub(r'[^\w\- ]', '', text.lower()).replace(' ', '-')
        names.add(f'{name}-{found[name]}' if found[name] else name)
        found[name] += 1
    return names


def links(path):
    text = INLINE_CODE.sub('', prose(path))
    return [one or other for one, other in LINK.findall(text)]


def why_broken(path, link):
    """'', or what is wrong with it."""
    parts = urllib.parse.urlsplit(link)
    if parts.scheme:
        whole = parts.scheme in ('http', 'https') and re.fullmatch(r'[\w-]+(\.[\w-]+)+', parts.hostname or '')
        return '' if whole else 'no address of the web'
    target = (path.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else path
    if not target.is_relative_to(ROOT) or not target.exists():
        return 'there is no such file'
    if parts.fragment and (target.suffix != '.md' or parts.fragment not in anchors(target)):
        return f'{name_of(target)} has no heading of that name'
    return ''


@pytest.mark.parametrize('path', DOCUMENTS, ids=name_of)
def test_links_resolve(path):
    broken = {link: why for link in links(path) if (why := why_broken(path, link))}
    assert broken == {}


def test_broken_links_are_seen():
    """The check itself: what it must not let through."""
    page = ROOT / 'docs' / 'api.md'
    assert why_broken(page, 'nowhere.md') and why_broken(page, '#nowhere') and why_broken(page, '../../etc/passwd')
    assert why_broken(page, 'reliability.md#nowhere') and why_broken(page, 'https://nowhere') and why_broken(page, 'htp://a.b/')
    assert not why_broken(page, 'reliability.md#stacks') and not why_broken(page, '../examples/metrics')


@pytest.mark.parametrize('path', [path for path in DOCUMENTS if path.name != 'CHANGELOG.md'], ids=name_of)
def test_files_that_are_named_exist(path):
    named = {code for _, code in INLINE_CODE.findall(prose(path)) if A_FILE.fullmatch(code)} - WRITTEN
    assert [code for code in sorted(named) if not (ROOT / code).exists()] == []


def test_every_page_is_reached_from_the_readme():
    reached, pages = set(), [ROOT / 'README.md']
    while pages:
        page = pages.pop()
        targets = {(page.parent / link.partition('#')[0]).resolve() for link in links(page) if '://' not in link}
        targets |= {file for folder in targets if folder.is_dir() for file in folder.glob('*.md')}
        pages += [target for target in targets - reached if target.suffix == '.md']
        reached |= targets
    assert [name_of(path) for path in ROOT.glob('docs/**/*.md') if path not in reached] == []


def test_every_page_is_in_the_navigation_of_the_site():
    navigation = (ROOT / 'tools' / 'site' / 'mkdocs.yml').read_text().partition('\nnav:')[2]
    assert [name_of(path) for path in ROOT.glob('docs/*.md') if f'{name_of(path)},' not in navigation.replace(']', ',')] == []


@pytest.mark.parametrize('drawn', sorted(ROOT.glob('docs/diagrams/*.dot')), ids=name_of)
def test_diagrams_are_drawn_from_their_sources(drawn):
    written = {line for label in re.findall(r'label="(.*?)"', drawn.read_text()) for line in label.split('\\n')}
    shown = {html.unescape(text) for text in re.findall(r'<text[^>]*>(.*?)</text>', drawn.with_suffix('.svg').read_text())}
    assert shown == written


def modules(folder):
    """What the example imports that is neither Python's nor its own nor uWSGI's and the engine's."""
    found = set()
    for path in folder.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                found.add((node.module or '').partition('.')[0])
            elif isinstance(node, ast.Import):
                found |= {each.name.partition('.')[0] for each in node.names}
    own = {path.stem for path in folder.rglob('*')}
    return found - own - set(sys.stdlib_module_names) - {'', 'greenlet', 'uwsgi', 'uwsgi_tornado'}


@pytest.mark.parametrize('folder', sorted(path for path in ROOT.glob('examples/*') if (path / 'README.md').exists()), ids=name_of)
def test_examples_name_the_packages_they_need(folder):
    installed = re.findall(r'[\w-]+', ' '.join(re.findall(r'apt(?:-get)? install(.*)', (folder / 'README.md').read_text())))
    if (folder / 'Dockerfile').exists():
        installed += re.findall(r'[\w-]+', (folder / 'Dockerfile').read_text())
    assert {f'python3-{module}' for module in modules(folder)} - set(installed) == set()


# --- docs/troubleshooting.md quotes the log ---------------------------------------------------

def literals(source):
    """The strings of C++; those with nothing but space between them are one."""
    found, end = [], -1
    for match in re.finditer(r'"((?:[^"\\\n]|\\.)*)"', source):
        text = match[1].replace('\\"', '"').replace('\\n', '\n')
        if end >= 0 and not source[end:match.start()].strip():
            found[-1] += text
        else:
            found.append(text)
        end = match.end()
    return found


def sentences():
    """What the page quotes: lines indented by four, "..." for what differs."""
    page = prose(ROOT / 'docs' / 'troubleshooting.md')
    return [line.strip() for line in re.findall(r'^    (\S.*)$', page, re.M)]


def parts(sentence):
    return [part.strip(' :') for part in sentence.split('...') if part.strip(' :')]


def sources_of_sentences():
    ours = '\n'.join(text for path in (ROOT / 'plugin').rglob('*.cc') for text in literals(path.read_text()))
    uwsgi = pathlib.Path(shutil.which('uwsgi')).read_bytes().decode('latin-1')
    asyncio = '\n'.join(pathlib.Path(file).read_text() for file in glob.glob('/usr/lib/python3*/asyncio/*.py'))
    return ours, uwsgi + asyncio


def test_quoted_sentences_are_in_the_sources():
    ours, others = sources_of_sentences()
    unknown = []
    for sentence in sentences():
        begin = sentence.removeprefix('tornado: ')
        text = ours if begin != sentence else ours + others
        unknown += [part for part in parts(begin) if part not in text]
    assert unknown == []


def refusals():
    """The sentences with which the plugin ends uWSGI at start: their parts that never differ."""
    source = '\n'.join(path.read_text() for path in sorted((ROOT / 'plugin').rglob('*.cc')))
    statements = re.findall(r'\brefuse\w*\(("[^;]*)\);', source)
    statements += re.findall(r'\{"\w+", ("--[^}]*)\}', source) + re.findall(r'\bkPatched =\s*([^;]*);', source)
    for body in re.findall(r'^std::string why_\w+\(\) \{\n(.*?)^\}', source, re.M | re.S):
        statements += re.findall(r'return ("[^;]*);', body)
    return {text.strip() for statement in statements for text in literals(statement) if len(text.strip()) > 3}


def test_page_has_every_refusal():
    page = ' '.join(sentences())
    assert len(refusals()) > 15
    assert [part for part in sorted(refusals()) if part not in page] == []
