import { quoteName, quoteText } from '@fastify-tenancy/postgres/client'

import { fromOf, rowsOf } from '../tenant-rows/tables.ts'
import { changedRow, type TablePair } from './changed-row.ts'
import type { CopyEndpoint } from './copy-endpoints.ts'

/**
 * Most passes over the remaining rows. A chain of thousands of dependent rows would need thousands
 * of passes; such rows are copied with all others instead.
 */
const passes = 20

/**
 * Returns the statement that updates, row by row, changed rows that cannot be deleted and
 * re-inserted because of `on delete`. It repeats until no further row can be updated. So the row
 * that releases a unique value (`is_default`) precedes the row that receives it. Rows that depend
 * on missing rows stay unchanged.
 */
export function updateInOrder ({ placement, tables }: CopyEndpoint, both: TablePair): string {
  const { table } = both
  const key = table.keys.find(({ isPrimary }) => isPrimary)?.columns ?? []
  const set = table.columns.filter(({ name, isFixed }) => !isFixed && !key.includes(name))
  if (set.length === 0) return 'select'
  const own = `c.tab = ${quoteText(table.name)} and c.line is not null`
  const record = set.map(({ name, type, isJson }) => `${quoteName(name)} ${isJson ? 'text' : type}`)
  const values = set.map(({ name, type, isJson }) =>
    `${quoteName(name)} = r.${quoteName(name)}${isJson ? `::${type}` : ''}`
  )
  // The block's label qualifies the variables, so that no column name can shadow them.
  const body = `
<<hand_over>>
declare
  todo int[] := array(select n from pg_temp.changed c where ${own} order by n);
  stuck int[];
  next int;
begin
  for pass in 1..${passes} loop
    stuck := '{}';
    foreach next in array todo loop
      begin
        update ${fromOf(placement, table)} t set ${
    values.join(', ')
  } from pg_temp.changed c, pg_catalog.json_to_record(c.line::json) r (${record.join(', ')})
        where c.n = hand_over.next and ${changedRow(both)} and ${rowsOf(placement, tables, table)};
      exception when unique_violation or exclusion_violation or foreign_key_violation then
        stuck := stuck || next;
      end;
    end loop;
    exit when cardinality(stuck) in (0, cardinality(todo));
    todo := stuck;
  end loop;
end`
  return `do ${quoteText(body)}`
}
