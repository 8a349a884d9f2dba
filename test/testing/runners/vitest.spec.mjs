import { test } from 'vitest'

import { cases, check } from './check.mjs'

for (const [name, options] of cases) test(name, () => check(options), 60_000)
