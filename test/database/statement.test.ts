import t from 'tap'

import { readStatement } from '../../packages/database/src/statement.ts'

t.test('CPY-01 INJ-22 only statements on rows are allowed, whatever stands before them', async t => {
  for (const text of ['select 1', ' SELECT 1', '/* a /* nested */ comment */ select 1', '-- line\nselect 1', '((select 1))', '\n\t(values (1))',
    'with x as (select 1) select * from x', 'insert into t values (1)', 'update t set a = 1', 'delete from t', 'table t', 'merge into t using u on true when matched then do nothing']) {
    t.ok(readStatement(text).isAllowed, text)
  }
  for (const text of ['', ' ', '--', '/* select', 'do $$ begin commit; end $$', 'call p()', 'copy t to stdout', 'listen x', 'set role b', 'reset role', 'begin', 'commit', 'rollback',
    'commit and chain', 'savepoint a', 'prepare transaction \'x\'', 'create table t ()', 'drop table t', 'truncate t', 'lock table t', 'discard all', 'explain select 1', 'vacuum', 'grant a to b',
    '/* select */ drop table t', '-- select\ndrop table t', ';select 1', '"select" 1', '$1', 'notify x', 'show role', 'declare c cursor for select 1', 'fetch c', 'execute x', 'prepare x as select 1']) {
    t.notOk(readStatement(text).isAllowed, text)
  }
})

t.test('a text that may change its session is known by its words', async t => {
  for (const text of ['select set_config($1, $2, false)', 'update pg_catalog.pg_settings set setting = $1 where name = $2', 'select PG_ADVISORY_LOCK(1)', 'select pg_try_advisory_lock(1)', 'select query_to_xml($1, true, true, \'\')', 'select U&"set\\005fconfig"(\'a\', \'b\', false)', 'select * from ts_stat($1)', 'select dblink_exec($1)']) {
    t.ok(readStatement(text).mayChangeSession, text)
  }
  for (const text of ['select hello_world from solo_items', 'select advisory_id from notes', 'select "u" & 1 from t']) t.notOk(readStatement(text).mayChangeSession, text)
})

t.test('a text has one name, and another text another', async t => {
  t.equal(readStatement('select 1').name, readStatement('select 1').name)
  t.not(readStatement('select 1').name, readStatement('select 2').name)
  t.match(readStatement('select 1').name, /^t_[\w-]{24}$/)
})

const text = (length: number): string => `select ${Array.from({ length }, (_, at) => `$${at + 1}`).join(',')}`

t.test('lists of ever new lengths do not fill the memory: a long text has no name and is not kept', async t => {
  t.equal(readStatement(text(5_000)).name, '')
  t.ok(readStatement(text(5_000)).isAllowed)
  t.not(readStatement(text(5_000)), readStatement(text(5_000)))
  t.equal(readStatement(text(100)), readStatement(text(100)))
})
