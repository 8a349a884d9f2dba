// Bundles the two libraries that every test loads, of 250 small modules each: to find and link them takes half of the
// time in which a test file starts. The hook `bundled.mjs` has each process of a run import the bundles instead.
import { build, type Plugin } from 'esbuild'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const libraries = ['tap', 'kysely', 'kysely/migration', 'kysely/helpers/postgres']

/** Lets a module go on finding what lies beside its own file. */
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

/** Writes the bundles to a folder. Returns the URL of each by the name that is imported. */
export async function bundleLibraries (folder: string): Promise<Record<string, string>> {
  // tap leaves what lies in this folder out of the stacks that it shows.
  const names = libraries.map(name => [name, `node_modules/@tapjs/${name}`] as const)
  await build({
    entryPoints: Object.fromEntries(
      names.map(([name, file]) => [file, fileURLToPath(import.meta.resolve(name))])
    ),
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true, // the three of Kysely share one copy of its classes
    format: 'esm',
    platform: 'node',
    logLevel: 'error',
    plugins: [ownUrls],
    banner: {
      js:
        "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(import.meta.url);"
    }
  })
  return Object.fromEntries(
    names.map(([name, file]) => [name, pathToFileURL(join(folder, `${file}.mjs`)).href])
  )
}
