import { resolveTenantRef, type TenantFilter, type TenantRecord, type TenantRef } from '@fastify-tenancy/core'
import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { assertNotNewer } from '@fastify-tenancy/postgres/install'
import { postgresRegistry } from '@fastify-tenancy/postgres/registry'

import { createFrom, type CreatedFrom, type CreateFromInput } from './adopt/customers.ts'
import { listObserved, protectShards, type ObservedTable, type ProtectInput } from './adopt/protect.ts'
import { ApplicationRedis } from './context/application-redis.ts'
import type { ManagerContext } from './context/context.ts'
import { Locks } from './context/locks.ts'
import type { MigrateInput } from './context/migrations-options.ts'
import { resolveManagerOptions, type ManagerOptions, type ResolvedManagerOptions } from './context/options.ts'
import { ApplicationDatabase } from './context/seed.ts'
import { ShardPools, withClient } from './context/shard-pools.ts'
import { doctor, type DoctorInput } from './doctor/doctor.ts'
import type { DoctorReport } from './doctor/report.ts'
import { Domains } from './domains/domains.ts'
import { actorOf } from './lifecycle/actor.ts'
import { createTenant } from './lifecycle/create.ts'
import { deleteTenant, type DeleteInput, type DeleteReport } from './lifecycle/delete.ts'
import type { CreateInput, SuspendInput, UpdateInput } from './lifecycle/input.ts'
import { pruneAudit, type PruneAuditInput } from './lifecycle/prune-audit.ts'
import { purgeDue, purgeTenant, type PurgeDueReport, type PurgeReport } from './lifecycle/purge.ts'
import { readAudit, type AuditEntry, type AuditInput } from './lifecycle/read-audit.ts'
import { invalidateTenant } from './lifecycle/invalidate.ts'
import { renameTenant } from './lifecycle/rename.ts'
import { resumeTenant, suspendTenant } from './lifecycle/suspend.ts'
import { searchTenants, type SearchInput, type TenantPage } from './lifecycle/search.ts'
import { listUnfinished, type UnfinishedWork } from './lifecycle/unfinished.ts'
import { updateTenant } from './lifecycle/update.ts'
import { migrateDown, type MigrateDownInput } from './migrations/migrate-down.ts'
import type { MigrateReport } from './migrations/migrate-report.ts'
import { migrate } from './migrations/migrate.ts'
import { migrationStatus, type MigrationStatus } from './migrations/status.ts'
import { confirmMove } from './move/confirm.ts'
import { moveTenant, type MovedTenant } from './move/move.ts'
import type { MoveInput } from './move/target.ts'
import { undoMove } from './move/undo.ts'
import { restoreTenant, type RestoreInput, type RestoreReport } from './restore/restore.ts'
import { initShards, type InitInput, type SetupReport } from './setup/init.ts'
import type { Manifest } from './tenant-rows/manifest.ts'
import { exportTenant, type ExportInput } from './transfer/export.ts'
import { importTenant, type ImportInput } from './transfer/import.ts'

/**
 * Makes the manager of the tenants of one application. It works with the login of `database.ownerUrl`,
 * or of `database.url` where there is none; nothing connects before the first call.
 *
 * @throws FST_TENANCY_OPTION_INVALID
 */
export function createManager (options: ManagerOptions): Manager {
  return new Manager(resolveManagerOptions(options))
}

/** Sets databases up and takes tenants through their lives. Made by {@link createManager}. */
export class Manager {
  readonly #context: ManagerContext
  #isKnown: Promise<void> | undefined
  /** The custom domains of tenants. */
  readonly domains: Domains

  constructor (options: ResolvedManagerOptions, context: ManagerContext = openContext(options)) {
    this.#context = context
    this.domains = new Domains(this.#context, () => this.#ready())
  }

  /**
   * The same manager, on the same connections, whose audit lines name a person or a job as the actor. `details.login` keeps the login.
   *
   * ```ts
   * await manager.as('alice@example.com').suspend({ slug: 'acme' }, { reason: 'unpaid' })
   * ```
   *
   * @throws FST_TENANCY_OPTION_INVALID when the name is empty, has control characters, or more than 200 characters
   */
  as (actor: string): Manager {
    return new Manager(this.#context.options, { ...this.#context, actor: actorOf(actor) })
  }

  /**
   * Creates roles, the schema `tenancy`, missing logins and the signing keys, on every shard. Runs as often as one likes, also several at once.
   *
   * @throws FST_TENANCY_SETUP_INVALID when the login may not create roles.
   */
  async init (input: InitInput = {}): Promise<SetupReport> {
    return initShards(this.#context, input)
  }

  /**
   * Puts the tables of `options.tables` under their policies and privileges, on every shard: after each migration that makes a table.
   * All of a shard's or none. A database that had data before it had tenants is taken over in stages instead, table by table.
   *
   * @throws FST_TENANCY_SETUP_INVALID when a table cannot be protected
   */
  async protect (input: ProtectInput = {}): Promise<SetupReport> {
    return protectShards(await this.#ready(), input)
  }

  /** The tables that old code still works on, with its roles and their last days: what `protect` with `stage: 'enforce'` is to end. */
  async observed (): Promise<readonly ObservedTable[]> {
    return listObserved(await this.#ready())
  }

  /**
   * Creates a tenant, ready to be served, with the role, the schema or the database that its strategy needs. `domains` are taken for verified.
   * A creation that was cut short is taken up again by the same call.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT when slug, id or a domain is taken, reserved or breaks its rule; a slug
   * that was given up is free again after 30 days.
   */
  async create (input: CreateInput): Promise<TenantRecord> {
    return createTenant(await this.#ready(), input)
  }

  /**
   * Makes tenants of the customers that a query finds, but for those that are tenants already. All rows are checked before the
   * first tenant is made. The same call takes up one that was cut short, and adds customers that came later.
   *
   * @throws FST_TENANCY_SETUP_INVALID that names each row without an id or a valid slug of its own
   * @throws FST_TENANCY_TENANT_CONFLICT when another tenant has the slug
   */
  async createFrom (input: CreateFromInput): Promise<CreatedFrom> {
    return createFrom(await this.#ready(), input)
  }

  /**
   * Changes the name, plan or settings of a tenant. What is the same already is not written.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT when it was changed since `version`, or is being deleted
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async update (ref: TenantRef, input: UpdateInput): Promise<TenantRecord> {
    return updateTenant(await this.#ready(), ref, input)
  }

  /**
   * Locks a tenant out: in the database that holds its rows first, so that no process writes any more, then in the registry.
   * Work that is under way there may finish. Again does no harm.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT when it is neither active nor suspended, or somebody is at work on it
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async suspend (ref: TenantRef, input: SuspendInput = {}): Promise<TenantRecord> {
    return suspendTenant(await this.#ready(), ref, input)
  }

  /**
   * Has every process look a tenant up again, and writes that into the audit. The tenant gets a new version and no other change.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT when the tenant is changed at the same time
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async invalidate (ref: TenantRef): Promise<TenantRecord> {
    return invalidateTenant(await this.#ready(), ref)
  }

  /**
   * Lets a suspended tenant in again. Before the purge it takes a deletion back: the tenant is then what it was before.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT when it is being created or purged, is deleted, or somebody is at work on it
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async resume (ref: TenantRef): Promise<TenantRecord> {
    return resumeTenant(await this.#ready(), ref)
  }

  /**
   * Gives a tenant another slug. For 30 days nobody but itself can have the old one, and what the limits file says of that
   * does not go with it.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT when the slug is taken, reserved or breaks its rule
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async rename (ref: TenantRef, slug: string): Promise<TenantRecord> {
    return renameTenant(await this.#ready(), ref, slug)
  }

  /**
   * Locks a tenant out and marks it as deleted; its data goes when the time of grace is over, with {@link purgeDue}, or at once with
   * {@link purge}. A creation that failed is cleaned up the same way. Again changes when, and what is kept.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT when it is deleted already, or somebody is at work on it
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async delete (ref: TenantRef, input: DeleteInput = {}): Promise<DeleteReport> {
    return deleteTenant(await this.#ready(), ref, input)
  }

  /**
   * Removes what there is of a tenant that is being deleted, without waiting for the end of its grace: rows, schema or database, role,
   * what Redis counts and remembers; then proves that no row is left. Its record and the audit stay, its slug is free after 30 days.
   * What was cut short is taken up by the same call; again does no harm.
   *
   * @throws FST_TENANCY_TENANT_CONFLICT that says what is in the way: older transactions, rows that are left, work that is not finished
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async purge (ref: TenantRef): Promise<PurgeReport> {
    return purgeTenant(await this.#ready(), ref)
  }

  /** Purges every tenant whose time of grace is over: to be run daily. One that fails does not stop the others. */
  async purgeDue (): Promise<PurgeDueReport> {
    return purgeDue(await this.#ready())
  }

  /** The tenant of this id or slug, whatever its status; undefined for nobody. */
  async get (input: TenantRef): Promise<TenantRecord | undefined> {
    const { registry } = await this.#ready()
    const ref = resolveTenantRef(input)
    return 'id' in ref ? registry.findById(ref.id) : registry.findBySlug(ref.slug)
  }

  /** The tenants whose move is not confirmed, or whose deletion is not purged, by id. */
  async unfinished (): Promise<readonly UnfinishedWork[]> {
    return listUnfinished(await this.#ready())
  }

  /**
   * What was done to tenants, when and by which login, the oldest first.
   *
   * @throws FST_TENANCY_TENANT_UNKNOWN for a slug that no tenant has
   */
  async *audit (input: AuditInput = {}): AsyncGenerator<AuditEntry> {
    yield* readAudit(await this.#ready(), input)
  }

  /**
   * One page of tenants by slug. `text` is part of the slug or name, or the whole of an id or a domain.
   *
   * @throws FST_TENANCY_OPTION_INVALID
   */
  async search (input: SearchInput = {}): Promise<TenantPage> {
    return searchTenants(await this.#ready(), input)
  }

  /** All tenants, by id. */
  async *list (filter?: TenantFilter): AsyncGenerator<TenantRecord> {
    yield* (await this.#ready()).registry.list(filter)
  }

  /**
   * Brings shared tables and the tables of all tenants to the newest migration: see the README's section Migrations. What was
   * done stays done: the same call goes on from there. Any number may run at once.
   *
   * @throws FST_TENANCY_MIGRATION_FAILED with the `report`, FST_TENANCY_MIGRATION_INVALID before anything is run where files and
   * ledger do not fit, FST_TENANCY_OPTION_INVALID, FST_TENANCY_SETUP_INVALID
   */
  async migrate (input: MigrateInput = {}): Promise<MigrateReport> {
    return migrate(await this.#ready(), input)
  }

  /**
   * Takes the newest migrations of one tenant back, in one transaction, by their `down`.
   *
   * @returns their names
   * @throws the error of the migration that failed; FST_TENANCY_MIGRATION_INVALID for one without a `down`
   */
  async migrateDown (ref: TenantRef, input: MigrateDownInput = {}): Promise<readonly string[]> {
    return migrateDown(await this.#ready(), ref, input)
  }

  /** How far the migrations have come, on each shard and for each tenant. Changes nothing. */
  async status (): Promise<MigrationStatus> {
    return migrationStatus(await this.#ready())
  }

  /**
   * Writes a tenant's rows into a new folder: `manifest.json`, and lines of JSON for each table, all of one moment, while others read and write.
   * When it fails or is ended by `signal`, nothing is left behind.
   *
   * ```sql
   * begin isolation level repeatable read read only;
   * copy (select … from only "public"."notes" t where t."tenant_id" = '7f3c…'::text order by t."id") to stdout
   * ```
   *
   * @throws FST_TENANCY_EXPORT_REFUSED when the folder exists, unless it is an earlier export and `force` is set
   * @throws FST_TENANCY_TENANT_UNKNOWN
   */
  async export (ref: TenantRef, input: ExportInput): Promise<Manifest> {
    return exportTenant(await this.#ready(), ref, input)
  }

  /**
   * Makes a tenant from an export, of any strategy and on any shard; the same call takes up one that was cut short. All that can be known
   * before is checked before the first row is written, and the rows are read again before the tenant becomes active.
   *
   * @throws FST_TENANCY_IMPORT_REFUSED when the export was altered, or does not fit the tables or the rows that are there; then nothing is left of the tenant
   * @throws FST_TENANCY_TENANT_CONFLICT as {@link Manager.create} does
   */
  async import (folder: string, input: ImportInput): Promise<TenantRecord> {
    return importTenant(await this.#ready(), folder, input)
  }

  /**
   * Makes a tenant's rows what they are in an export of this tenant, or in a restored copy of its database, in place. The tenant is
   * locked out meanwhile (503 with `retry-after`). Equal rows stay untouched, and each table is compared with the checksum of
   * the source. What fails is taken back as a whole; the same call takes up a restore that was cut short.
   *
   * @throws FST_TENANCY_RESTORE_REFUSED for another tenant's rows, another migration level, and rows outside the tenant's tables that
   * refer to rows which would go; nothing is changed then
   * @throws FST_TENANCY_TENANT_CONFLICT when other work on the tenant is not finished
   */
  async restore (ref: TenantRef, input: RestoreInput): Promise<RestoreReport> {
    return restoreTenant(await this.#ready(), ref, input)
  }

  /**
   * Moves a tenant to another strategy or shard; the same call takes up a move that was cut short. Its rows are copied while it is served, and
   * what has changed since while nobody can write: from the lock to the switch its requests get 503 with `retry-after`, for `pause` at most.
   * The old copy stays, locked, until {@link confirmMove}.
   *
   * @throws FST_TENANCY_MOVE_FAILED when rows cannot go there, came out differently, or took too long; the tenant is then served from where it was
   * @throws FST_TENANCY_TENANT_CONFLICT when it is there already, an earlier move was not confirmed, or somebody else is at work on it
   */
  async move (ref: TenantRef, input: MoveInput): Promise<MovedTenant> {
    return moveTenant(await this.#ready(), ref, input)
  }

  /** Takes back a move that was cut short before its switch: the copy is removed, and the tenant is served from where it was. */
  async cancelMove (ref: TenantRef): Promise<TenantRecord> {
    return undoMove(await this.#ready(), ref)
  }

  /** Removes the old copy of a tenant that has moved. The same call takes up one that was cut short. */
  async confirmMove (ref: TenantRef): Promise<TenantRecord> {
    return confirmMove(await this.#ready(), ref)
  }

  /**
   * Removes entries of `tenancy.audit` that are older than `olderThan`: the only way in which anything leaves it. That, too, is written down.
   *
   * @returns how many were removed
   */
  async pruneAudit (input: PruneAuditInput): Promise<number> {
    return pruneAudit(await this.#ready(), input)
  }

  /**
   * Examines all databases of the options for what lets tenants see or touch each other: the catalog of each, read as the owner's
   * login, and with `probe` also by attacks with the application's own. Changes nothing, but for a file that `writeBaseline` names.
   *
   * @throws FST_TENANCY_SETUP_INVALID when the baseline cannot be read.
   */
  async doctor (input: DoctorInput = {}): Promise<DoctorReport> {
    return doctor(await this.#ready(), input)
  }

  // Asked once. A database that is not set up yet, or cannot be reached, is the call's own to refuse.
  async #ready (): Promise<ManagerContext> {
    this.#isKnown ??= withClient(this.#context.shards.get('default'), assertNotNewer).catch(
      (error: unknown) => {
        this.#isKnown = undefined
        if (error instanceof SetupInvalidError) throw error
      }
    )
    await this.#isKnown
    return this.#context
  }

  /** Closes the manager's connections; a pool that was passed in stays open. */
  async close (): Promise<void> {
    await this.#context.locks.close()
    await this.#context.application.close()
    await this.#context.redis.close()
    await this.#context.shards.close()
  }
}

function openContext (options: ResolvedManagerOptions): ManagerContext {
  const shards = new ShardPools(options.database)
  return {
    options,
    shards,
    redis: new ApplicationRedis(options, shards),
    registry: postgresRegistry(shards.get('default')),
    locks: new Locks(() => shards.get('default')),
    application: new ApplicationDatabase(options.application, shards)
  }
}
