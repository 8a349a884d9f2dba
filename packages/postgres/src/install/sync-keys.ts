import { withholds } from '../client/script.ts'
import { quoteName, type SqlClient } from '../client/sql-client.ts'
import { signingKey } from '../context-token.ts'
import { SetupInvalidError } from '../errors.ts'
import type { Roles } from '../roles/roles.ts'

/** How often a process records that it signs with its key, in milliseconds. */
export const noteInterval: number = 10 * 60_000

/**
 * How long after its last note a key counts as used: two intervals, and a minute for a late note.
 */
const usedFor = '21 minutes'

/**
 * Inserts the keys of these secrets. Keys of earlier secrets stay until they are dropped, because
 * running processes may sign with them. `true` refuses to drop a key in use; `'now'` does not
 * check.
 *
 * @returns a sentence about earlier keys that stay
 * @throws FST_TENANCY_SETUP_INVALID if `drop` is true and an earlier key is in use
 */
export async function syncKeys (
  client: SqlClient,
  roles: Roles,
  secrets: readonly string[],
  drop: boolean | 'now'
): Promise<string[]> {
  if (withholds(client, unprinted)) return []
  const keys = secrets.map(signingKey)
  await client.query(`set local role ${quoteName(roles.owner)}`)
  for (const { id, inner, outer } of keys) {
    await client.query(
      `
      insert into tenancy.signing_keys (id, inner_pad, outer_pad) values ($1, $2, $3)
      on conflict (id) do nothing`,
      [id, inner, outer]
    )
  }
  const old = await readOld(client, keys.map(({ id }) => id))
  const used = old[0]?.free
  if (drop === true && used !== undefined && used !== null) throw new SetupInvalidError(inUse(used))
  if (drop !== false) {
    await client.query('delete from tenancy.signing_keys where id = any($1)', [old.map(({ id }) => id)])
  }
  await client.query('set local role none')
  return drop === false && old.length > 0 ? [remaining(old.length)] : []
}

const unprinted = 'the signing keys are secrets and not printed: ' +
  "run `tenancy init` once more, as the owner's login, to put them in"

function inUse (until: string): string {
  return 'a running process signs with an earlier secret, and its requests would fail: '
    + 'configure the new options.rls.secret in every process,'
    + ` and run \`tenancy init --drop-old-secrets\` again after ${until}`
}

function remaining (count: number): string {
  const [secrets, them] = count === 1 ? ['an earlier secret', 'it'] : [`${count} earlier secrets`, 'them']
  return `the database goes on accepting ${secrets}, since running processes may sign with ${them}:`
    + ' run `tenancy init --drop-old-secrets` once every process has the new one'
}

interface OldKey {
  readonly id: string
  /** When the key may be dropped, as text; null if no process uses it. */
  readonly free: string | null
}

// The most recently used key comes first.
async function readOld (client: SqlClient, ids: readonly string[]): Promise<OldKey[]> {
  const { rows } = await client.query<OldKey>(
    `
    select key.id, pg_catalog.to_char(
      (note.used_at + interval '${usedFor}') at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"') as free
    from tenancy.signing_keys key
    left join tenancy.signing_uses note
      on note.key_id = key.id and note.used_at > pg_catalog.now() - interval '${usedFor}'
    where key.id <> all($1)
    order by note.used_at desc nulls last`,
    [ids]
  )
  return rows
}
