// The worker of standstill.ts. Answers with the length of the error message plus one, and the
// message.
import pg from 'pg'
import { parentPort } from 'node:worker_threads'

parentPort?.on('message', ({ url, sql, answer }: { url: string; sql: string; answer: Int32Array }) => {
  const client = new pg.Client(url)
  client.connect().then(() => client.query(sql)).then(() => '', (error: Error) => error.message || error.name)
    .then(message => {
      for (const [index, letter] of [...message].slice(0, 500).entries())
        answer[index + 1] = letter.codePointAt(0) ?? 0
      Atomics.store(answer, 0, 1 + Math.min([...message].length, 500))
      Atomics.notify(answer, 0)
      return client.end()
    }).catch(() => {})
})
