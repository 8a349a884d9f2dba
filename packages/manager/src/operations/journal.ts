import { tenantConflict } from '@fastify-tenancy/core/errors'
import { sqlState, type SqlClient } from '@fastify-tenancy/postgres/client'

/** Operations of several steps, which can be interrupted. */
export type OperationKind = 'create' | 'delete' | 'purge' | 'move' | 'confirm' | 'import' | 'restore'

/** An operation of one tenant, as stored in `tenancy.operations`. */
interface JournalEntry {
  readonly id: string
  readonly kind: OperationKind
  readonly input: Readonly<Record<string, unknown>>
  /** Names of the finished steps, in order. */
  readonly done: readonly string[]
  /** Results of steps that later steps need. */
  readonly state: Readonly<Record<string, unknown>>
  /** Why the operation stopped; null if it did not. */
  readonly error: string | null
}

/** Input of {@link beginOperation}. It must not contain secrets. */
interface NewOperation {
  readonly tenant: string
  readonly kind: OperationKind
  readonly input: object
  /** Kinds of unfinished operations that this one ends. A delete ends a create. */
  readonly replaces?: readonly OperationKind[]
}

const columns = 'id::text, kind, input, done, state, error'

/** Returns the unfinished operation of a tenant. */
export async function openOperation (client: SqlClient, tenant: string): Promise<JournalEntry | undefined> {
  const { rows: [row] } = await client.query<JournalEntry>(
    `select ${columns} from tenancy.operations where tenant_id = $1 and finished_at is null`,
    [tenant]
  )
  return row
}

/**
 * Begins an operation, or resumes an interrupted one of the same kind. The caller must hold the
 * tenant's lock.
 *
 * @throws FST_TENANCY_TENANT_CONFLICT with the name of an unfinished operation of another kind
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
    if (row === undefined) throw new Error('the insert into tenancy.operations returned no row')
    return row
  } catch (error) {
    if (sqlState(error) === '23505')
      throw tenantConflict(
        'another process has just begun an operation on this tenant: call again when it has ended'
      )
    throw error
  }
}

function resumed (operation: JournalEntry, kind: OperationKind): JournalEntry {
  if (operation.kind !== kind)
    throw tenantConflict(`a ${operation.kind} of this tenant is not finished: call it again first`)
  return operation
}

/** Records that a step is done, with its results. */
export async function recordStep (
  client: SqlClient,
  { id }: JournalEntry,
  step: string,
  facts: object
): Promise<void> {
  await client.query(
    `
    update tenancy.operations
    set done = done || $2::text, state = state || $3, error = null, updated_at = now()
    where id = $1`,
    [id, step, JSON.stringify(facts)]
  )
}

/** Records why an operation stopped. It stays unfinished. */
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

/**
 * Returns the text with passwords in URLs masked. Errors of drivers or user code may contain a
 * connection URL.
 */
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

/** Ends an unfinished operation of a tenant that will never be completed. */
export async function abandonOperation (client: SqlClient, tenant: string): Promise<void> {
  await client.query(
    `
    update tenancy.operations set finished_at = now(), updated_at = now()
    where tenant_id = $1 and finished_at is null`,
    [tenant]
  )
}

/** Marks steps as not done, so that a resumed operation runs them again. */
export async function forgetSteps (
  client: SqlClient,
  tenant: string,
  steps: readonly string[]
): Promise<void> {
  await client.query(
    `
    update tenancy.operations
    set done = array(
        select name from unnest(done) with ordinality u (name, place)
        where name <> all($2) order by place
      ),
      updated_at = now()
    where tenant_id = $1 and finished_at is null`,
    [tenant, steps]
  )
}
