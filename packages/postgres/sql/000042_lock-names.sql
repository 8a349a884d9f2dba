-- Renames the functions of 000013 that take and return a session-level lock.

alter function tenancy.take_lock(text, bigint) rename to acquire_lock;
alter function tenancy.give_lock(text, bigint) rename to release_lock;
