import { test } from 'node:test'

import { cases, check } from './check.mjs'

for (const [name, options] of cases) test(name, () => check(options))
