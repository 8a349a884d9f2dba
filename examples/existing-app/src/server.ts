// node src/server.ts old | between | new
import pg from 'pg'

import { oldUrl } from './logins.ts'
import { newApp } from './new-app.ts'
import { oldApp } from './old-app.ts'

const [, , version = 'new'] = process.argv
const pool = new pg.Pool({ connectionString: oldUrl })
const app = version === 'old' ? await oldApp(pool) : await newApp(version === 'between' ? pool : undefined)
app.addHook('onClose', () => pool.end())
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void app.close())
await app.listen({ port: Number(process.env.PORT ?? 3000), host: process.env.HOST ?? '127.0.0.1' })
