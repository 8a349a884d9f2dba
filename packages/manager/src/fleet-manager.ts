import type { TenantRef } from '@fastify-tenancy/core'
import type { FleetUsage } from '@fastify-tenancy/redis'

import { listObserved, protectShards, type ObservedTable, type ProtectInput } from './adopt/protect.ts'
import type { ManagerContext } from './context/context.ts'
import type { MigrateInput } from './context/migrations-options.ts'
import { whenReady } from './context/when-ready.ts'
import { doctor, type DoctorInput } from './doctor/doctor.ts'
import type { DoctorReport } from './doctor/report.ts'
import { pruneAudit, type PruneAuditInput } from './lifecycle/prune-audit.ts'
import { purgeDue, type PurgeDueReport } from './lifecycle/purge.ts'
import { readAudit, type AuditEntry, type AuditInput } from './lifecycle/read-audit.ts'
import { listUnfinished, type UnfinishedWork } from './lifecycle/unfinished.ts'
import { migrateDown, type MigrateDownInput } from './migrations/migrate-down.ts'
import type { MigrateReport } from './migrations/migrate-report.ts'
import { migrate } from './migrations/migrate.ts'
import { migrationStatus, type MigrationStatus } from './migrations/status.ts'
import { initShards, type InitInput, type SetupReport } from './setup/init.ts'
import { readUsage, type UsageInput } from './usage.ts'

/** The part of {@link Manager} that concerns all databases and tenants of an application. */
export class FleetManager {
  readonly #context: ManagerContext

  constructor (context: ManagerContext) {
    this.#context = context
  }

  /**
   * Creates roles, the schema `tenancy`, missing logins and the signing keys on every shard.
   * Idempotent, also when called concurrently.
   *
   * @throws FST_TENANCY_SETUP_INVALID if the login may not create roles
   */
  async init (input: InitInput = {}): Promise<SetupReport> {
    return initShards(this.#context, input)
  }

  /**
   * Applies policies and privileges to the tables of `options.tables` on every shard, atomically
   * for each shard. Call it after each migration that creates a table. With `stage`, it adopts a
   * database that already has data, table by table.
   *
   * @throws FST_TENANCY_SETUP_INVALID if a table cannot be protected
   */
  async protect (input: ProtectInput = {}): Promise<SetupReport> {
    return protectShards(await whenReady(this.#context), input)
  }

  /**
   * Returns the tables that legacy code still uses, with its roles and their last days. `protect`
   * with `stage: 'enforce'` ends this use.
   */
  async observed (): Promise<readonly ObservedTable[]> {
    return listObserved(await whenReady(this.#context))
  }

  /**
   * Applies pending migrations to the shared set and to the tables of all tenants: see the guide's
   * section Migrations. Applied migrations stay after a failure, and the same call resumes.
   * Concurrent calls are safe.
   *
   * @throws FST_TENANCY_MIGRATION_FAILED with the `report`
   * @throws FST_TENANCY_MIGRATION_INVALID before anything is run, if the files do not match the
   *   ledger
   * @throws FST_TENANCY_OPTION_INVALID
   * @throws FST_TENANCY_SETUP_INVALID
   */
  async migrate (input: MigrateInput = {}): Promise<MigrateReport> {
    return migrate(await whenReady(this.#context), input)
  }

  /**
   * Undoes the newest migrations of one tenant with their `down`, in one transaction.
   *
   * @returns their names
   * @throws the error of the migration that failed; FST_TENANCY_MIGRATION_INVALID for one without a
   *   `down`
   */
  async migrateDown (ref: TenantRef, input: MigrateDownInput = {}): Promise<readonly string[]> {
    return migrateDown(await whenReady(this.#context), ref, input)
  }

  /** Returns the migration state of each shard and tenant. Read-only. */
  async status (): Promise<MigrationStatus> {
    return migrationStatus(await whenReady(this.#context))
  }

  /**
   * Examines all databases of the options for ways in which tenants can see or change each other's
   * data: reads each catalog with the owner's login, and with `probe` also attacks with the
   * application's login. Read-only, except for the file of `writeBaseline`.
   *
   * @throws FST_TENANCY_SETUP_INVALID if the baseline cannot be read
   */
  async doctor (input: DoctorInput = {}): Promise<DoctorReport> {
    return doctor(await whenReady(this.#context), input)
  }

  /**
   * Collects, through Redis, the usage of tenants in all running applications for some seconds, and
   * returns the sum.
   *
   * @throws FST_TENANCY_OPTION_INVALID without `redis`
   * @throws FST_TENANCY_REDIS_UNAVAILABLE
   */
  async usage (input: UsageInput = {}): Promise<FleetUsage> {
    return readUsage(this.#context, input)
  }

  /**
   * Purges every tenant whose grace period is over; run it daily. A failure does not stop the
   * others.
   */
  async purgeDue (): Promise<PurgeDueReport> {
    return purgeDue(await whenReady(this.#context))
  }

  /** Returns the tenants whose move is not confirmed, or whose deletion is not purged, by id. */
  async unfinished (): Promise<readonly UnfinishedWork[]> {
    return listUnfinished(await whenReady(this.#context))
  }

  /**
   * Yields audit entries with time and login, the oldest first.
   *
   * @throws FST_TENANCY_TENANT_UNKNOWN for a slug that no tenant has
   */
  async *audit (input: AuditInput = {}): AsyncGenerator<AuditEntry> {
    yield* readAudit(await whenReady(this.#context), input)
  }

  /**
   * Removes entries of `tenancy.audit` that are older than `olderThan`, and adds an entry about it.
   * This is the only way to remove entries.
   *
   * @returns the number of removed entries
   */
  async pruneAudit (input: PruneAuditInput): Promise<number> {
    return pruneAudit(await whenReady(this.#context), input)
  }

  /** Closes the manager's connections; a pool that was passed stays open. */
  async close (): Promise<void> {
    await this.#context.locks.close()
    await this.#context.application.close()
    await this.#context.redis.close()
    await this.#context.shards.close()
  }
}
