// `npm run dev`: sets up the PGlite in the folder `data`, and serves it.
import { manager } from '../tenancy.config.js'
import { setUp } from './set-up.js'

// #if postgres
// With DATABASE_URL it serves that database as it is. A server is set up by `npx tenancy init`.
if (process.env.DATABASE_URL === undefined) await setUp(manager)
// #end
// #if !postgres
await setUp(manager)
// #end
await import('./server.js')

const { PORT = '3000' } = process.env
const curl = `curl http://127.0.0.1:${PORT}/projects -H`
console.log(`
  ${curl} 'Host: acme.localhost' -H 'content-type: application/json' -d '{"name":"Secret Project"}'
  ${curl} 'Host: acme.localhost'
  ${curl} 'Host: globex.localhost'
`)
