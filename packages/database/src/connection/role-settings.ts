import type { SqlClient } from '@fastify-tenancy/postgres/client'
import { channel } from 'node:diagnostics_channel'
import pg from 'pg'

import type { WireStatement } from './batch-end.ts'
import { control } from './reset.ts'

/**
 * Published when the settings of a pool's login changed while the process ran. The message is
 * `{ settings }`, a list of names.
 */
const changes = channel('fastify-tenancy:login-settings-changed')

const ofLogin = `s.setrole operator(pg_catalog.=)
    pg_catalog.to_regrole(pg_catalog.quote_ident(session_user))::oid
  and s.setdatabase operator(pg_catalog.=) any(array[0::oid,
    (select d.oid from pg_catalog.pg_database d
      where d.datname operator(pg_catalog.=) pg_catalog.current_database())])`
const fingerprint = `(select coalesce(pg_catalog.md5(pg_catalog.json_agg(
    pg_catalog.json_build_array(s.setdatabase, s.setconfig)
    order by s.setdatabase using operator(pg_catalog.<))::text), '')
  from pg_catalog.pg_db_role_setting s where ${ofLogin})`

interface Answer {
  readonly fingerprint: string
  /** A JSON list of `name=value`. */
  readonly own: string
}

const question = `select ${fingerprint} as fingerprint,
  (select coalesce(pg_catalog.json_agg(entry), '[]')
    from pg_catalog.pg_db_role_setting s cross join lateral pg_catalog.unnest(s.setconfig) as entry
    where ${ofLogin})::text as own`

/**
 * Prevents `alter role <login> set …` from affecting new connections while the process runs. The
 * first batch of each connection compares the login's settings with those at boot. If they differ,
 * the pool passes the boot's values as startup options, and the statement is retried on such a
 * connection. PostgreSQL prefers startup options.
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

  /**
   * Reads the login's settings at boot; undefined if the URL has its own startup options, which
   * this class would replace.
   */
  static async read (pool: pg.Pool, client: SqlClient): Promise<RoleSettings | undefined> {
    if (/[?&]options=/.test(pool.options.connectionString ?? '')) return undefined
    const { rows: [answer] } = await client.query<Answer>(question)
    const { rows } = await client.query<{ name: string; setting: string }>(
      'select name, setting from pg_catalog.pg_settings'
    )
    return answer && new RoleSettings(pool, answer, new Map(rows.map(({ name, setting }) => [name, setting])))
  }

  /** Returns a statement that fails with 22012 on a connection whose login has other settings. */
  get check (): WireStatement {
    return {
      ...control(`select 1 operator(pg_catalog./) (${fingerprint} operator(pg_catalog.=) $1)::int`),
      values: [this.#fingerprint]
    }
  }

  /** Passes the settings of the boot to new connections. */
  pin (): Promise<void> {
    this.#pinning ??= this.#pin().finally(() => {
      this.#pinning = undefined
    })
    return this.#pinning
  }

  async #pin (): Promise<void> {
    // Opened outside the pool, because all of the pool's connections may be waiting for this
    // method.
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

  // `role` is missing from pg_settings.
  #option (name: string): string {
    const value = name === 'role' ? 'none' : this.#values.get(name) ?? ''
    return `-c ${name}=${value.replaceAll(/[\\\s]/g, found => `\\${found}`)}`
  }
}
