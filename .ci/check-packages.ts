// Packs what would be published and checks it as a user meets it: the tarball's contents and manifest, publint, attw,
// and an empty project that installs all tarballs from the registry's dependencies, imports each and compiles against it.
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'

import { packageFolders, root } from './sources.ts'

interface Manifest {
  name: string
  packageManager?: string
  private?: boolean
  engines?: { node?: string }
  exports?: Record<string, unknown>
  dependencies?: Record<string, string>
  peerDependencies?: Record<string, string>
}

interface Package {
  readonly name: string
  /** Folder below packages/. */
  readonly folder: string
  readonly tarball: string
}

const work = mkdtempSync(join(tmpdir(), 'check-packages-'))
const problems: string[] = []

/** What the command printed; its failure is a problem and not an exception. */
async function check (what: string, command: string, args: string[], cwd = root): Promise<string> {
  try {
    return (await promisify(execFile)(command, args, { cwd, maxBuffer: 2 ** 26 })).stdout
  } catch (error) {
    const { stdout = '', stderr = '', message } = error as { stdout?: string, stderr?: string, message: string }
    problems.push(`${what}\n${(stdout + stderr || message).trim().replaceAll(/^/gm, '    ')}`)
    return ''
  }
}

const readManifest = (folder: string): Manifest => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest

async function pack (): Promise<Package[]> {
  const { packageManager = 'pnpm' } = readManifest(root)
  await check('the packages do not build', 'tsc', ['-b', ...packageFolders().map(folder => `packages/${folder}`)])
  await check('the packages cannot be packed', 'npx', ['-y', packageManager, '--recursive', '--filter', './packages/*', 'pack', '--pack-destination', work])
  const tarballs = readdirSync(work).filter(file => file.endsWith('.tgz'))
  return packageFolders()
    .map(folder => ({ folder, manifest: readManifest(join(root, 'packages', folder)) }))
    .filter(({ manifest }) => manifest.private !== true)
    .map(({ folder, manifest: { name } }) => {
      const stem = name.replace('@', '').replace('/', '-')
      const tarball = tarballs.find(file => file.startsWith(`${stem}-`) && /^\d/.test(file.slice(stem.length + 1))) ?? 'missing'
      return { name, folder, tarball: join(work, tarball) }
    })
}

async function checkTarball ({ name, folder, tarball }: Package): Promise<void> {
  const unpacked = join(work, folder)
  mkdirSync(unpacked)
  await check(`${name} was not packed`, 'tar', ['-xzf', tarball, '-C', unpacked, '--strip-components=1'])
  const files = readdirSync(unpacked, { recursive: true, withFileTypes: true }).filter(entry => entry.isFile()).map(entry => join(entry.parentPath, entry.name).slice(unpacked.length + 1))
  if (!files.includes('package.json')) return

  const must = (isGood: boolean, problem: string): void => { if (!isGood) problems.push(`${name} ${problem}`) }
  for (const file of ['LICENSE', 'README.md']) must(files.includes(file), `has no ${file}`)
  for (const file of files.filter(file => /\.test\.|\.tst\.|(^|\/)(test|tests|__tests__)\/|tsbuildinfo/.test(file))) must(false, `ships ${file}, which is of no use to its users`)
  // tsc never deletes: what a removed source left in dist would be published for ever.
  for (const file of files.filter(file => /^dist\/.*\.js$/.test(file))) must(files.includes(file.replace(/^dist/, 'src').replace(/\.js$/, '.ts')), `ships ${file}, whose source is gone: remove dist and build again`)

  const manifest = readManifest(unpacked)
  must(manifest.engines?.node === '>=22.12', 'must have engines.node ">=22.12"')
  must(manifest.exports?.['.'] !== undefined && manifest.exports['./package.json'] !== undefined, 'must export "." and "./package.json"')
  for (const [dependency, range] of Object.entries({ ...manifest.dependencies, ...manifest.peerDependencies })) {
    must(!/^(workspace|file|link|catalog):/.test(range), `depends on ${dependency} as "${range}", which npm cannot resolve`)
  }
  await check(`publint of ${name}`, 'publint', ['run', tarball, '--strict'])
  await check(`attw of ${name}`, 'attw', [tarball, '--profile', 'esm-only', '--no-definitely-typed', '--format', 'ascii', '--no-emoji'])
}

/** A new project with nothing in it but our tarballs and, through npm, their dependencies and peers. */
async function checkInstalled (packages: readonly Package[]): Promise<void> {
  const project = join(work, 'project')
  mkdirSync(project)
  writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, type: 'module' }))
  const compilerOptions = { module: 'nodenext', target: 'es2024', lib: ['es2024'], types: ['node'], strict: true, noEmit: true }
  writeFileSync(join(project, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['consumer.ts'] }))
  writeFileSync(join(project, 'consumer.ts'), packages.map(({ name }, i) => `import * as p${i} from '${name}'\nexport const names${i}: string[] = Object.keys(p${i})\n`).join(''))

  const before = problems.length
  await check('npm cannot install the tarballs into an empty project', 'npm', ['install', '--no-audit', '--no-fund', '--loglevel=error', ...packages.map(({ tarball }) => tarball), '@types/node@24', '@types/pg@8'], project)
  if (problems.length > before) return
  await Promise.all(packages.map(async ({ name }) => check(`${name} cannot be imported`, process.execPath, ['--input-type=module', '--eval', `await import('${name}')`], project)))
  await check('the published types do not compile', join(root, 'node_modules/.bin/tsc'), ['--project', '.'], project)
}

try {
  const packages = await pack()
  if (problems.length === 0) await Promise.all([...packages.map(checkTarball), checkInstalled(packages)])
  for (const problem of problems) console.error(`- ${problem}`)
  console.log(problems.length === 0 ? `${packages.length} packages are fit to publish` : `${problems.length} problems in ${packages.length} packages`)
  process.exitCode = problems.length === 0 ? 0 : 1
} finally {
  rmSync(work, { recursive: true, force: true })
}
