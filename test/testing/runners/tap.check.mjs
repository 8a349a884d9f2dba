import { test } from 'tap'

import { cases, check } from './check.mjs'

for (const [name, options] of cases) test(name, () => check(options))
