// The list of benchmarks: `npm run bench:<name>` in this package.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const { scripts } = JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8')) as {
  scripts: Record<string, string>
}
const lines = Object.keys(scripts).filter(name => name.startsWith('bench:')).map(name => `  npm run ${name}`)
process.stdout.write(
  `In packages/benchmarks, after npm run build in the root (--save writes the result into README.md):\n${
    lines.join('\n')
  }\n`
)
