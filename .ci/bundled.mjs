// Loaded by every process of a test run through NODE_OPTIONS, see bundles.ts.
import { registerHooks } from 'node:module'

const bundles = new Map(Object.entries(JSON.parse(process.env.TEST_BUNDLES ?? '{}')))

if (bundles.size > 0)
  registerHooks({
    resolve (specifier, context, next) {
      const url = bundles.get(specifier)
      return url === undefined ? next(specifier, context) : { url, format: 'module', shortCircuit: true }
    }
  })
