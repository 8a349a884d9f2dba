import type { Family } from './finding.ts'
import { given } from './prelude.ts'

/** Objects that moves leave behind in the databases that tenants have left. */
export const moveChecks: Family = {
  checks: {
    D516: {
      level: 'warning',
      meaning: 'a trigger follows the changes of a tenant that is not being moved: ' +
        'it slows writes down, and what it writes down is never read'
    }
  },
  reads: ['moving'],
  // The trigger's first argument is the tenant id. Its characters stay readable in an escaped
  // bytea.
  text: `
with left_behind as (
  select t.tgname, t.tgrelid::regclass as relation,
    split_part(encode(t.tgargs, 'escape'), '\\000', 1) as tenant
  from pg_trigger t where t.tgfoid = to_regprocedure('tenancy.record_change()') and t.tgparentid = 0
)
select 'D516' as id, format('trigger %I on table %s', tgname, relation) as object,
  format('drop trigger %I on %s; delete from tenancy.move_changes where tenant_id = %L',
    tgname, relation, tenant) as fix
from left_behind where not ${given}->'moving' ? tenant
order by object`
}
