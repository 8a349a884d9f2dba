import type { Generated } from 'kysely'

type Digit = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9
/** 0 to 199. */
type Number200 = `${Digit}` | `${Exclude<Digit, 0>}${Digit}` | `1${Digit}${Digit}`

/** Two hundred tenant tables, a shared one and a global one. */
export type Schema =
  & {
    [Name in `tenant_${Number200}`]: {
      tenant_id: string
      id: Generated<string>
      name: string
      amount: number
    }
  }
  & {
    countries: { code: string }
    users: { id: string; email: string }
  }
