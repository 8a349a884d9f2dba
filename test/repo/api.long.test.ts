// The pages of the API: written from the docstrings without a warning, with a page for each package.
import { execFile } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'

import { readManifest } from '../../.ci/pack.ts'
import { packageFolders, root } from '../../.ci/sources.ts'

t.test('the pages of the API are written without a warning', { timeout: 600_000 }, async t => {
  const out = join(t.testdir(), 'api')
  const script = join(root, '.ci/api-pages.ts')
  const { stdout } = await promisify(execFile)(process.execPath, [script, '--out', out], { cwd: root })
    .catch(({ stdout, stderr }: { stdout: string; stderr: string }) => {
      throw new Error(`${stdout}${stderr}`)
    })
  t.notMatch(stdout, /\[warning\]|[1-9]\d* warning/)
  t.ok(existsSync(join(out, 'index.html')))
  const modules = readdirSync(join(out, 'modules')).map(name => name.replace('.html', ''))
  for (const folder of packageFolders()) {
    const manifest = readManifest(join(root, 'packages', folder))
    if (manifest.private === true) continue
    const page = manifest.name.replace('@', '_').replaceAll('/', '_')
    t.ok(modules.includes(page), `${page} among ${modules.join(' ')}`)
  }
})
