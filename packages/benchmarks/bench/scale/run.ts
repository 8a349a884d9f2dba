// Issue 21: what grows with the number of tenants, schemas, databases, limits and rows. `npm run
// bench:scale -- [registry] [schemas] [databases] [redis] [limits] [rows] [move] [--short] [--save]`
import { markdown, report } from '../../src/report.ts'
import { databases } from './databases.ts'
import { limits } from './limits.ts'
import { move } from './move.ts'
import type { Part } from './part.ts'
import { redis } from './redis.ts'
import { registry } from './registry.ts'
import { rows } from './rows.ts'
import { schemas } from './schemas.ts'

const parts: Readonly<Record<string, Part>> = { registry, schemas, databases, redis, limits, rows, move }
const args = process.argv.slice(2)
const isShort = args.includes('--short')
const named = args.filter(argument => !argument.startsWith('--'))
const unknown = named.filter(name => !Object.hasOwn(parts, name))
if (unknown.length > 0)
  throw new Error(`no part is named ${unknown.join(', ')}: choose from ${Object.keys(parts).join(', ')}`)

const texts: string[] = []
for (const [name, part] of Object.entries(parts)) {
  if (named.length > 0 && !named.includes(name)) continue
  process.stderr.write(`${name} …\n`)
  const { title, head, rows } = await part(isShort)
  const text = `**${name}**: ${title}\n\n${markdown(head, rows)}`
  process.stderr.write(`${text}\n\n`)
  texts.push(text)
}
// A part of the run, or a short one, must not replace the figures of a whole run.
if (args.includes('--save') && (isShort || named.length > 0))
  throw new Error('--save needs a whole run: leave out --short and the names of parts')
report('scale', texts.join('\n\n'))
process.exit()
