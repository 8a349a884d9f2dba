// Loaded into every process of a test: replaces one source file by its mutant.
import { readFileSync } from 'node:fs'
import { registerHooks } from 'node:module'

const { MUTATED_URL, MUTATED_SOURCE } = process.env

if (MUTATED_URL !== undefined && MUTATED_SOURCE !== undefined) {
  registerHooks({
    load: (url, context, next) =>
      url === MUTATED_URL
        ? { format: 'module-typescript', source: readFileSync(MUTATED_SOURCE, 'utf8'), shortCircuit: true }
        : next(url, context)
  })
}
