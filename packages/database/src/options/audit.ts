/** The event that the audit receives before the first statement of work across tenants. */
export interface AuditEvent {
  readonly type: 'system-access'
  readonly at: Date
  readonly reason: string
  readonly actor: string
  readonly write: boolean
  readonly shard: string
}

/** Records an event. If it throws or rejects, the work is refused. */
export type Audit = (event: AuditEvent) => void | Promise<void>
