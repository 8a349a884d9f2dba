import { randomInt, randomUUID } from 'node:crypto'

/** Returns a value of the same kind that no row has. */
export function mutated (value: unknown): unknown {
  if (typeof value === 'number')
    return randomInt(2_000_000_000, 2_147_000_000) % (Math.abs(value) < 32_767 ? 32_000 : Infinity)
  if (typeof value !== 'string') return undefined
  if (/^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value)) return randomUUID()
  if (/^\d+$/.test(value))
    return String(randomInt(2_000_000_000, 2_147_000_000)).slice(0, Math.max(value.length, 1))
  const noise = randomUUID().replaceAll('-', '')
  return value.replaceAll(/[a-z0-9]/gi, (_, at: number) => noise[at % noise.length] ?? 'x')
}
