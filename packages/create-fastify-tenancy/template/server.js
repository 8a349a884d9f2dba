import { buildApp } from './app.js'

const { HOST = '127.0.0.1', PORT = '3000' } = process.env

const app = await buildApp()
for (const signal of ['SIGINT', 'SIGTERM']) {
  // Requests under way end first.
  process.once(signal, () => {
    void app.close().then(() => process.exit(0))
  })
}
await app.listen({ port: Number(PORT), host: HOST })
