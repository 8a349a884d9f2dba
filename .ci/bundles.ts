// Bundles the two libraries that every test loads. Finding and linking their 250 small modules each
// takes half of a test file's start-up time. The hook `bundled.mjs` makes each process of a run
// import the bundles instead.
import { build, type Plugin } from 'esbuild'
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const libraries = ['tap', 'kysely', 'kysely/migration', 'kysely/helpers/postgres']

/** Lets a module still resolve files that lie beside it. */
const ownUrls: Plugin = {
  name: 'own-urls',
  setup ({ onLoad }) {
    onLoad({ filter: /\.m?js$/ }, async ({ path }) => ({
      contents: (await readFile(path, 'utf8')).replaceAll(
        'import.meta.url',
        JSON.stringify(pathToFileURL(path).href)
      ),
      loader: 'js'
    }))
  }
}

/**
 * Makes the bundles once for each lock file, below `folder`. Returns the URL of each by import
 * name.
 */
export async function bundleLibraries (folder: string): Promise<Record<string, string>> {
  const lock = await readFile(new URL('../pnpm-lock.yaml', import.meta.url))
  const made = join(folder, `bundles-${createHash('sha256').update(lock).digest('hex').slice(0, 16)}`)
  // tap omits files in this folder from the stacks that it shows.
  const names = libraries.map(name => [name, `node_modules/@tapjs/${name}`] as const)
  if (!existsSync(made)) await write(names, made)
  return Object.fromEntries(
    names.map(([name, file]) => [name, pathToFileURL(join(made, `${file}.mjs`)).href])
  )
}

async function write (
  names: readonly (readonly [name: string, file: string])[],
  made: string
): Promise<void> {
  const unfinished = `${made}-${process.pid}`
  await build({
    entryPoints: Object.fromEntries(
      names.map(([name, file]) => [file, fileURLToPath(import.meta.resolve(name))])
    ),
    outdir: unfinished,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true, // the three bundles of Kysely share one copy of its classes
    format: 'esm',
    platform: 'node',
    logLevel: 'error',
    plugins: [ownUrls],
    banner: {
      js: "import { createRequire as makeRequire } from 'node:module'; " +
        'const require = makeRequire(import.meta.url);'
    }
  })
  // Another run may have written the bundles first.
  await rename(unfinished, made).catch(() => rm(unfinished, { recursive: true }))
}
