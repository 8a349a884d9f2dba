import { tenantConflict } from '@fastify-tenancy/core'
import { sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'

/** What takes several steps, and so can be cut short. */
export type OperationKind = 'create' | 'delete' | 'purge' | 'move' | 'confirm' | 'import' | 'restore'

/** An operation of one tenant, as `tenancy.operations` keeps it. */
export interface JournalEntry {
  readonly id: string
  readonly kind: OperationKind
  readonly input: Readonly<Record<string, unknown>>
  /** Names of the steps that are done, in order. */
  readonly done: readonly string[]
  /** Facts that later steps need. */
  readonly state: Readonly<Record<string, unknown>>
  /** Why it stopped, where it did. */
  readonly error: string | null
}

/** What {@link beginOperation} writes down. Never a secret. */
export interface NewOperation {
  readonly tenant: string
  readonly kind: OperationKind
  readonly input: object
  /** Kinds that are given up for this one: a delete ends what a create had begun. */
  readonly replaces?: readonly OperationKind[]
}

const columns = 'id::text, kind, input, done, state, error'

/** The operation of a tenant that is not finished. */
export async function openOperation (client: SqlClient, tenant: string): Promise<JournalEntry | undefined> {
  const { rows: [row] } = await client.query<JournalEntry>(
    `select ${columns} from tenancy.operations where tenant_id = $1 and finished_at is null`,
    [tenant]
  )
  return row
}

/**
 * Begins an operation, or takes up the one of the same kind that was cut short. Call it under the tenant's lock.
 *
 * @throws FST_TENANCY_TENANT_CONFLICT that names the operation of another kind which is not finished.
 */
export async function beginOperation (
  client: SqlClient,
  { tenant, kind, input, replaces = [] }: NewOperation
): Promise<JournalEntry> {
  await client.query(
    `
    update tenancy.operations set finished_at = now(), updated_at = now(), error = 'given up for ' || $3
    where tenant_id = $1 and finished_at is null and kind = any($2)`,
    [tenant, replaces, kind]
  )
  const old = await openOperation(client, tenant)
  if (old !== undefined) return resumed(old, kind)
  try {
    const { rows: [row] } = await client.query<JournalEntry>(
      `insert into tenancy.operations (tenant_id, kind, input) values ($1, $2, $3) returning ${columns}`,
      [tenant, kind, JSON.stringify(input)]
    )
    if (row === undefined) throw new Error('the operation was not written down')
    return row
  } catch (error) {
    if (sqlState(error) === '23505')
      throw tenantConflict('somebody else has just begun to work on this tenant')
    throw error
  }
}

function resumed (operation: JournalEntry, kind: OperationKind): JournalEntry {
  if (operation.kind !== kind)
    throw tenantConflict(`a ${operation.kind} of this tenant is not finished: call it again first`)
  return operation
}

/** Writes down that a step is done, with the facts that it gave. */
export async function recordStep (
  client: SqlClient,
  { id }: JournalEntry,
  step: string,
  facts: object
): Promise<void> {
  await client.query(
    'update tenancy.operations set done = done || $2::text, state = state || $3, error = null, updated_at = now() where id = $1',
    [id, step, JSON.stringify(facts)]
  )
}

/** Writes down why an operation stopped; it stays unfinished. */
export async function recordError (
  client: SqlClient,
  { id }: JournalEntry,
  step: string,
  error: unknown
): Promise<void> {
  const text = withoutPasswords(`${step}: ${error instanceof Error ? error.message : String(error)}`).slice(
    0,
    500
  )
  await client.query(
    'update tenancy.operations set error = $2, updated_at = now() where id = $1 and finished_at is null',
    [id, text]
  )
}

/** A text that is kept, without the passwords of URLs in it: an error of a driver or of the user's may name where it wanted to go. */
export function withoutPasswords (text: string): string {
  return text.replace(/(\b[a-z][a-z0-9+.-]*:\/\/[^\s:@/]*):[^\s/]+@/gi, '$1:***@').replace(
    /([?&](?:ssl)?password=)[^\s&"'#]+/gi,
    '$1***'
  )
}

export async function finishOperation (client: SqlClient, { id }: JournalEntry): Promise<void> {
  await client.query('update tenancy.operations set finished_at = now(), updated_at = now() where id = $1', [
    id
  ])
}

/** Ends whatever operation of a tenant is not finished, for one that will never be. */
export async function abandonOperation (client: SqlClient, tenant: string): Promise<void> {
  await client.query(
    'update tenancy.operations set finished_at = now(), updated_at = now() where tenant_id = $1 and finished_at is null',
    [tenant]
  )
}

/** Takes back that steps are done: an operation that goes on does them again. */
export async function forgetSteps (
  client: SqlClient,
  tenant: string,
  steps: readonly string[]
): Promise<void> {
  await client.query(
    `
    update tenancy.operations set done = array(select name from unnest(done) with ordinality u (name, place) where name <> all($2) order by place), updated_at = now()
    where tenant_id = $1 and finished_at is null`,
    [tenant, steps]
  )
}
