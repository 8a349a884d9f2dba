// Loaded by every process of a test run through NODE_OPTIONS, see bundles.ts.
import { registerHooks } from 'node:module'
import { setFlagsFromString } from 'node:v8'

const bundles = new Map(Object.entries(JSON.parse(process.env.TEST_BUNDLES ?? '{}')))
const sources = ['packages/', 'test/'].map(folder => new URL(`../${folder}`, import.meta.url).href)
const ownPackages = new Map()

function isSource (url) {
  return sources.some(folder => url?.startsWith(folder)) && !url.includes('/node_modules/')
}

if (bundles.size > 0)
  registerHooks({
    resolve (specifier, context, next) {
      const bundle = bundles.get(specifier)
      if (bundle !== undefined) return { url: bundle, format: 'module', shortCircuit: true }
      // The optimizing compiler takes a third of the seconds in which PGlite starts.
      if (specifier === '@electric-sql/pglite') setFlagsFromString('--liftoff-only')
      if (!isSource(context.parentURL)) return next(specifier, context)
      // Node would look for the file and for the package.json of each folder above it, which takes
      // a tenth of a test file's start-up time.
      if (specifier.startsWith('.') && specifier.endsWith('.ts'))
        return {
          url: new URL(specifier, context.parentURL).href,
          format: 'module-typescript',
          shortCircuit: true
        }
      if (!specifier.startsWith('@fastify-tenancy/')) return next(specifier, context)
      const known = ownPackages.get(specifier)
      if (known !== undefined) return known
      const { url, format } = next(specifier, context)
      const resolved = { url, format, shortCircuit: true }
      ownPackages.set(specifier, resolved)
      return resolved
    }
  })
