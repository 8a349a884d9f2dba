import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { channel } from 'node:diagnostics_channel'
import pg from 'pg'

import type { WireStatement } from './pipelined-batch.ts'
import { control } from './reset.ts'

/** Published when the settings of a pool's login were changed while the process ran: `{ settings }`, their names. */
const changes = channel('fastify-tenancy:login-settings-changed')

const entries =
  `pg_catalog.pg_db_role_setting s where s.setrole operator(pg_catalog.=) pg_catalog.to_regrole(pg_catalog.quote_ident(session_user))::oid
  and s.setdatabase operator(pg_catalog.=) any(array[0::oid, (select d.oid from pg_catalog.pg_database d where d.datname operator(pg_catalog.=) pg_catalog.current_database())])`
const fingerprint =
  `(select coalesce(pg_catalog.md5(pg_catalog.json_agg(pg_catalog.json_build_array(s.setdatabase, s.setconfig) order by s.setdatabase using operator(pg_catalog.<))::text), '') from ${entries})`

interface Answer {
  readonly fingerprint: string
  /** A list in JSON of `name=value`. */
  readonly own: string
}

const question =
  `select ${fingerprint} as fingerprint, (select coalesce(pg_catalog.json_agg(entry), '[]') from ${
    entries.replace(' s where', ' s cross join lateral pg_catalog.unnest(s.setconfig) as entry where')
  })::text as own`

/**
 * Keeps what `alter role <login> set …` does while the process runs away from new connections. The first batch of each new
 * connection compares the settings of the login with those at the boot. If they differ, the pool passes the values of the
 * boot as startup options, which PostgreSQL prefers, and the statement runs on a connection with them.
 */
export class RoleSettings {
  readonly #pool: pg.Pool
  readonly #own: ReadonlySet<string>
  readonly #values: ReadonlyMap<string, string>
  readonly #options: string
  #fingerprint: string
  #pinning: Promise<void> | undefined

  private constructor (pool: pg.Pool, { fingerprint, own }: Answer, values: ReadonlyMap<string, string>) {
    this.#pool = pool
    this.#fingerprint = fingerprint
    this.#own = new Set(JSON.parse(own) as string[])
    this.#values = values
    this.#options = pool.options.options ?? ''
  }

  /** Reads the settings of the boot; undefined where the URL has startup options of its own, which ours would replace. */
  static async read (pool: pg.Pool, client: SqlClient): Promise<RoleSettings | undefined> {
    if (/[?&]options=/.test(pool.options.connectionString ?? '')) return undefined
    const { rows: [answer] } = await client.query<Answer>(question)
    const { rows } = await client.query<{ name: string; setting: string }>(
      'select name, setting from pg_catalog.pg_settings'
    )
    return answer && new RoleSettings(pool, answer, new Map(rows.map(({ name, setting }) => [name, setting])))
  }

  /** Fails with 22012 on a connection whose login has other settings. */
  get check (): WireStatement {
    return {
      ...control(`select 1 operator(pg_catalog./) (${fingerprint} operator(pg_catalog.=) $1)::int`),
      values: [this.#fingerprint]
    }
  }

  /** Passes the values of the boot to new connections. */
  pin (): Promise<void> {
    this.#pinning ??= this.#pin().finally(() => {
      this.#pinning = undefined
    })
    return this.#pinning
  }

  async #pin (): Promise<void> {
    // Not of the pool, whose connections may all wait for this.
    const client = new pg.Client(this.#pool.options)
    client.on('error', () => {}) // the query that it breaks fails
    await client.connect()
    try {
      await client.query('set statement_timeout = 0')
      const { rows: [answer] } = await client.query<Answer>(question)
      if (answer === undefined) return
      const now = new Set(JSON.parse(answer.own) as string[])
      const names = [...[...now].filter(entry => !this.#own.has(entry)), ...[...this.#own].filter(entry =>
        !now.has(entry)
      )]
        .map(entry => entry.slice(0, entry.indexOf('=')))
      this.#fingerprint = answer.fingerprint
      this.#pool.options.options = [this.#options, ...new Set(names.map(name => this.#option(name)))].join(
        ' '
      ).trim()
      changes.publish({ settings: names })
    } finally {
      await client.end()
    }
  }

  // `role` stands in no view of settings.
  #option (name: string): string {
    const value = name === 'role' ? 'none' : this.#values.get(name) ?? ''
    return `-c ${name}=${value.replaceAll(/[\\\s]/g, found => `\\${found}`)}`
  }
}
