"""What mkdocs.yml does beside its options: the site mirrors the repository, so that links lead somewhere in both, and
the tutorial is executed."""
import base64
import hashlib
import os
import re
import tempfile
from pathlib import Path

import jupytext
import nbformat
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
PAGES = ('*.md', 'docs/**/*.md', 'benchmarks/*.md', 'runtime/python/*.md')
FILES = ('docs/images/*', 'docs/*.css', 'benchmarks/*.*', 'recipes/**/*.ini', 'recipes/**/*.csv', 'runtime/include/*',
         'runtime/examples/*.c*', 'LICENSE')
NOTEBOOKS = ('docs/tutorial.md',)
EXECUTED = ROOT / 'build' / 'notebooks'  # by the digest of source and photographs: again only when these change


def on_files(files, config):
    """The pages and what they link, by their path in the repository; beside them what the theme brings."""
    found = {str(path.relative_to(ROOT)) for pattern in PAGES + FILES for path in ROOT.glob(pattern)}
    own = [File(path, str(ROOT), config.site_dir, config.use_directory_urls) for path in sorted(found)]
    for path in NOTEBOOKS:
        text, beside = with_outputs(executed(ROOT / path), Path(path).stem)
        own = [file for file in own if file.src_uri != path]
        own += [File.generated(config, str(Path(path).with_name(name)), content=content)
                for name, content in {Path(path).name: text, **beside}.items()]
    return Files(own + [file for file in files if file.src_dir != config.docs_dir])


def executed(source):
    """The notebook of a Markdown page, executed in an empty folder."""
    text = source.read_text()
    made_of = (text + os.environ.get('PHOTOGRAPHS', '')).encode()
    kept = EXECUTED / f'{source.stem}-{hashlib.sha1(made_of).hexdigest()[:16]}.ipynb'
    if not kept.is_file():
        notebook = jupytext.reads(text, 'md')
        with tempfile.TemporaryDirectory() as folder:
            try:
                NotebookClient(notebook, timeout=300, coalesce_streams=True,
                               extra_arguments=['--IPKernelApp.log_level=40'],
                               resources={'metadata': {'path': folder}}).execute()
            except CellExecutionError as error:
                raise PluginError(f'{source.relative_to(ROOT)}: {error}') from None
        EXECUTED.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, str(kept))
    return nbformat.read(str(kept), as_version=4)


def with_outputs(notebook, name):
    """The page of an executed notebook, and the files beside it by their names: its pictures, and itself."""
    parts, files = [], {name + '.ipynb': nbformat.writes(notebook)}
    for cell in notebook.cells:
        if cell.cell_type == 'markdown':
            parts.append(cell.source)
            continue
        shell = cell.source.startswith('%%bash\n')
        parts.append(fenced(cell.source[len('%%bash\n'):] if shell else cell.source, 'bash' if shell else 'python'))
        for output in cell.outputs:
            data = output.get('data', {'text/plain': output.get('text', '')})
            if 'image/png' in data:
                picture = f'{name}-{len(files)}.png'
                files[picture] = base64.b64decode(data['image/png'])
                parts.append(f'![What the cell shows]({picture})')
            else:
                parts.append(fenced(data['text/plain'].rstrip(), ' {.text .output}'))
    return '\n\n'.join(parts).replace(f'{name}.ipynb', f'[{name}.ipynb]({name}.ipynb)'), files


def fenced(text, language):
    return f'```{language}\n{text}\n```'


def on_post_page(output, page, config):
    """Refuse a page that loads something from elsewhere."""
    loaded = re.findall(r'<(?:script|img|iframe)[^>]+src="?(?:https?:)?//[^>]+', output)
    loaded += re.findall(r'<link[^>]+stylesheet[^>]+//[^>]+', output)
    if loaded:
        raise PluginError(f'{page.file.src_uri} loads from elsewhere: {loaded[0]}')
    return output
