import type { TenantFilter, TenantRecord, TenantRef } from '@fastify-tenancy/core'
import { resolveTenantRef } from '@fastify-tenancy/core/scope'

import { createFrom, type CreatedFrom, type CreateFromInput } from './adopt/customers.ts'
import type { ManagerContext } from './context/context.ts'
import { openContext } from './context/open-context.ts'
import { resolveManagerOptions, type ManagerOptions, type ResolvedManagerOptions } from './context/options.ts'
import { whenReady } from './context/when-ready.ts'
import { Domains } from './domains/domains.ts'
import { FleetManager } from './fleet-manager.ts'
import { actorOf } from './lifecycle/actor.ts'
import { createTenant } from './lifecycle/create.ts'
import { deleteTenant, type DeleteInput, type DeleteReport } from './lifecycle/delete.ts'
import type { CreateInput, SuspendInput, UpdateInput } from './lifecycle/input.ts'
import { invalidateTenant } from './lifecycle/invalidate.ts'
import { purgeTenant, type PurgeReport } from './lifecycle/purge.ts'
import { renameTenant } from './lifecycle/rename.ts'
import { searchTenants, type SearchInput, type TenantPage } from './lifecycle/search.ts'
import { resumeTenant, suspendTenant } from './lifecycle/suspend.ts'
import { updateTenant } from './lifecycle/update.ts'
import { confirmMove } from './move/confirm.ts'
import { moveTenant, type MovedTenant } from './move/move.ts'
import type { MoveInput } from './move/target.ts'
import { undoMove } from './move/undo.ts'
import { restoreTenant, type RestoreInput, type RestoreReport } from './restore/restore.ts'
import type { Manifest } from './tenant-rows/manifest.ts'
import { exportTenant, type ExportInput } from './transfer/export.ts'
import { importTenant, type ImportInput } from './transfer/import.ts'

/**
 * Returns the manager of one application's tenants. It uses the login of `database.ownerUrl`, or
 * else of `database.url`, and connects at the first call.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function createManager (options: ManagerOptions): Manager {
  return new Manager(resolveManagerOptions(options))
}

/** Sets up databases and manages the lifecycle of tenants. See {@link createManager}. */
export class Manager extends FleetManager {
  readonly #context: ManagerContext
  /** The custom domains of tenants. */
  readonly domains: Domains

  constructor (options: ResolvedManagerOptions, context: ManagerContext = openContext(options)) {
    super(context)
    this.#context = context
    this.domains = new Domains(this.#context, () => whenReady(this.#context))
  }

  /**
   * Returns the same manager, on the same connections, whose audit entries name a person or a job as
   * the actor. `details.login` keeps the login.
   *
   * ```ts
   * await manager.as('alice@example.com').suspend({ slug: 'acme' }, { reason: 'unpaid' })
   * ```
   *
   * @throws FST_TENANCY_OPTION_INVALID if the name is empty, has control characters, or is longer
   *   than 200 characters
   */
  as (actor: string): Manager {
    return new Manager(this.#context.options, { ...this.#context, actor: actorOf(actor) })
  }

  /**
   * Creates an active tenant with the role, schema or database that its strategy needs. `domains`
   * count as verified. The same call resumes an interrupted creation.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT if slug, id or a domain is taken, reserved or malformed; a
   *   released slug is free again after 30 days
   */
  async create (input: CreateInput): Promise<TenantRecord> {
    return createTenant(await whenReady(this.#context), input)
  }

  /**
   * Creates tenants from the customers that a query returns, except existing tenants. All rows are
   * checked before the first tenant is created. The same call resumes an interrupted one and adds
   * later customers.
   *
   * @throws FST_TENANCY_SETUP_INVALID with each row that lacks an id or a valid, unique slug
   * @throws FST_TENANCY_TENANT_CONFLICT if another tenant has the slug
   */
  async createFrom (input: CreateFromInput): Promise<CreatedFrom> {
    return createFrom(await whenReady(this.#context), input)
  }

  /**
   * Changes the name, plan or settings of a tenant. Equal values are not written.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT if it was changed since `version`, or is being deleted
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async update (ref: TenantRef, input: UpdateInput): Promise<TenantRecord> {
    return updateTenant(await whenReady(this.#context), ref, input)
  }

  /**
   * Locks a tenant out: first in the database that holds its rows, so that no process writes any
   * more, then in the registry. Running transactions may finish. Idempotent.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT if it is neither active nor suspended, or another process
   *   works on it
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async suspend (ref: TenantRef, input: SuspendInput = {}): Promise<TenantRecord> {
    return suspendTenant(await whenReady(this.#context), ref, input)
  }

  /**
   * Makes every process look a tenant up again, and writes an audit entry. The tenant gets a new
   * version and no other change.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT if the tenant is changed at the same time
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async invalidate (ref: TenantRef): Promise<TenantRecord> {
    return invalidateTenant(await whenReady(this.#context), ref)
  }

  /**
   * Ends a suspension. Before the purge, it also takes a deletion back and restores the previous
   * status.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT if it is being created or purged, is deleted, or another
   *   process works on it
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async resume (ref: TenantRef): Promise<TenantRecord> {
    return resumeTenant(await whenReady(this.#context), ref)
  }

  /**
   * Changes a tenant's slug. For 30 days only this tenant can take the old slug again. Entries of
   * the limits file for the old slug do not follow.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT if the slug is taken, reserved or malformed
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async rename (ref: TenantRef, slug: string): Promise<TenantRecord> {
    return renameTenant(await whenReady(this.#context), ref, slug)
  }

  /**
   * Locks a tenant out and marks it as deleted. Its data is removed after the grace period by
   * {@link purgeDue}, or at once by {@link purge}. This also cleans up a failed creation. A second
   * call changes the due time and what is kept.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT if it is deleted already, or another process works on it
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async delete (ref: TenantRef, input: DeleteInput = {}): Promise<DeleteReport> {
    return deleteTenant(await whenReady(this.#context), ref, input)
  }

  /**
   * Removes all data of a tenant that is being deleted, without waiting for its grace period, and
   * checks that no row is left. Its record and audit entries stay; its slug is free after 30 days.
   * Idempotent; the same call resumes an interrupted purge.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT with the obstacle: older transactions, remaining rows, or
   *   an unfinished operation
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async purge (ref: TenantRef): Promise<PurgeReport> {
    return purgeTenant(await whenReady(this.#context), ref)
  }

  /** Returns the tenant of this id or slug, whatever its status; undefined if there is none. */
  async get (input: TenantRef): Promise<TenantRecord | undefined> {
    const { registry } = await whenReady(this.#context)
    const ref = resolveTenantRef(input)
    return 'id' in ref ? registry.findById(ref.id) : registry.findBySlug(ref.slug)
  }

  /**
   * Returns one page of tenants by slug. `text` is a part of the slug or name, or a whole id or domain.
   *
   * @throws FST_TENANCY_OPTION_INVALID
   */
  async search (input: SearchInput = {}): Promise<TenantPage> {
    return searchTenants(await whenReady(this.#context), input)
  }

  /** Yields all tenants, by id. */
  async *list (filter?: TenantFilter): AsyncGenerator<TenantRecord> {
    yield* (await whenReady(this.#context)).registry.list(filter)
  }

  /**
   * Writes a tenant's rows into a new folder, as of one snapshot, while others read and write:
   * `manifest.json`, and JSON lines for each table. After a failure or an abort by `signal`, no
   * files are left.
   *
   * ```sql
   * begin isolation level repeatable read read only;
   * copy (
   *   select … from only "public"."notes" t where t."tenant_id" = '7f3c…'::text order by t."id"
   * ) to stdout
   * ```
   *
   * @throws FST_TENANCY_EXPORT_REFUSED if the folder exists, unless it is an earlier export and
   *   `force` is set
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async export (ref: TenantRef, input: ExportInput): Promise<Manifest> {
    return exportTenant(await whenReady(this.#context), ref, input)
  }

  /**
   * Creates a tenant of any strategy and shard from an export; the same call resumes an interrupted
   * import. Everything possible is checked before the first row is written, and the rows are
   * compared with the export before the tenant becomes active.
   *
   * @throws FST_TENANCY_IMPORT_REFUSED if the export was altered, or does not match the existing
   *   tables or rows; the tenant is then removed again
   * @throws FST_TENANCY_TENANT_CONFLICT like {@link Manager.create}
   */
  async import (folder: string, input: ImportInput): Promise<TenantRecord> {
    return importTenant(await whenReady(this.#context), folder, input)
  }

  /**
   * Changes a tenant's rows, in place, to those of its export or of a restored copy of its
   * database.
   *
   * The tenant is locked out meanwhile (503 with `retry-after`). Each table is compared with the
   * source's checksum. A failed restore is rolled back; the same call resumes an interrupted one.
   *
   * @throws FST_TENANCY_RESTORE_REFUSED for another tenant's rows, another migration, and rows
   *   outside the tenant's tables that refer to rows which would be removed; nothing is changed then
   * @throws FST_TENANCY_TENANT_CONFLICT if another operation on the tenant is not finished
   */
  async restore (ref: TenantRef, input: RestoreInput): Promise<RestoreReport> {
    return restoreTenant(await whenReady(this.#context), ref, input)
  }

  /**
   * Moves a tenant to another strategy or shard; the same call resumes an interrupted move.
   *
   * Rows are copied while the tenant is served, later changes under a lockout of at most `pause`
   * (503 with `retry-after`). The old copy stays, locked out, until {@link confirmMove}.
   *
   * @throws FST_TENANCY_MOVE_FAILED if the target cannot take the rows, the copy differs, or the
   *   pause is too short; the tenant is then served from its source
   * @throws FST_TENANCY_TENANT_CONFLICT if it is there already, an earlier move is not confirmed,
   *   or another process works on it
   */
  async move (ref: TenantRef, input: MoveInput): Promise<MovedTenant> {
    return moveTenant(await whenReady(this.#context), ref, input)
  }

  /**
   * Undoes an interrupted move before its switch: removes the copy and serves the tenant from its
   * source.
   */
  async cancelMove (ref: TenantRef): Promise<TenantRecord> {
    return undoMove(await whenReady(this.#context), ref)
  }

  /** Removes the old copy of a tenant that has moved. The same call resumes an interrupted one. */
  async confirmMove (ref: TenantRef): Promise<TenantRecord> {
    return confirmMove(await whenReady(this.#context), ref)
  }
}
