-- The role that makes backups: it reads everything that a backup needs, and can change nothing. PostgreSQL 14 to 18.
--
--   psql -v role=backup_reader -v database=smart_ai_hub -f backup_role.sql
--   psql -c '\password backup_reader'            asks for its password, which then stands in no file and no process list
--
-- Run it as the superuser, or as the administrator that a hosting company gives you. Run it again at any time, and
-- after row level security was switched on for a table: what is there stays, what is missing is added.
--
-- Further variables:
--   -v tables='users,sales.orders'   only these tables, their partitions and their own sequences, instead of all. A
--                                    backup holds the schema of the whole database, so check_prerequisites refuses
--                                    until the role may read every table: for a database that has no others.
--   -v strict=on                     also takes from PUBLIC what it has in this database by default: temporary tables,
--                                    and before PostgreSQL 15 new tables in the schema public. From everybody: look
--                                    first whether your application needs that.
--   -v drill_role=backup_drill       also a role for restore_drill and restore_backup (Airflow connection backup_drill):
--                                    it may create databases, and read none of those that are there. The role that
--                                    reads the original shall not be the one that writes copies.

\set ON_ERROR_STOP on
\if :{?role}
\else
DO $$ BEGIN RAISE 'role is not set: psql -v role=backup_reader -v database=smart_ai_hub -f backup_role.sql'; END $$;
\endif
\if :{?database}
\else
DO $$ BEGIN RAISE 'database is not set: psql -v role=backup_reader -v database=smart_ai_hub -f backup_role.sql'; END $$;
\endif
\if :{?tables}
\else
\set tables ''
\endif
\if :{?strict}
\else
\set strict off
\endif

\connect :"database"
BEGIN;
SET LOCAL search_path = pg_catalog;
SET LOCAL client_min_messages = warning;
SELECT set_config('backup_role.role', :'role', true), set_config('backup_role.tables', :'tables', true) \gset ignored_

SELECT format('CREATE ROLE %I', :'role') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'role') \gexec
ALTER ROLE :"role" LOGIN;

-- A role that is there already may be more than it seems. Nothing is taken from it: somebody else may need it.
DO $$
DECLARE
    role CONSTANT text := current_setting('backup_role.role');
    found text;
BEGIN
    SELECT string_agg(what, ', ') INTO found
      FROM pg_roles, unnest(ARRAY[
               CASE WHEN rolsuper THEN 'is a superuser' END,
               CASE WHEN rolcreaterole THEN 'may create roles' END,
               CASE WHEN rolcreatedb THEN 'may create databases' END,
               CASE WHEN rolreplication THEN 'may replicate' END]) what
     WHERE rolname = role;
    SELECT concat_ws(', ', found, 'is a member of ' || string_agg(m.roleid::regrole::text, ', '))
      INTO found
      FROM pg_auth_members m
     WHERE m.member = (SELECT oid FROM pg_roles WHERE rolname = role)
       AND m.roleid NOT IN ('pg_read_all_data'::regrole, 'pg_read_all_settings'::regrole, 'pg_read_all_stats'::regrole)
    HAVING count(*) > 0 OR found IS NOT NULL;
    IF EXISTS (SELECT FROM pg_shdepend
                WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o'
                  AND refobjid = (SELECT oid FROM pg_roles WHERE rolname = role)) THEN
        found := concat_ws(', ', found, 'owns objects, which an owner may always change');
    END IF;
    IF found IS NOT NULL THEN
        RAISE 'role % %: too much for one that only reads; choose the name of a new role', role, found;
    END IF;
END $$;

GRANT CONNECT ON DATABASE :"database" TO :"role";
-- Whatever it was granted in this database before goes: a second run starts from nothing, as the first did.
SELECT format('REVOKE ALL ON %s %s FROM %I', CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
              c.oid::regclass, rolname)
  FROM pg_class c, pg_roles r
 WHERE rolname = :'role' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
   AND r.oid IN (SELECT grantee FROM aclexplode(c.relacl)
                  UNION SELECT grantee FROM pg_attribute a, aclexplode(a.attacl) WHERE a.attrelid = c.oid) \gexec
SELECT format('REVOKE ALL ON SCHEMA %I FROM %I', nspname, rolname)
  FROM pg_namespace, pg_roles r WHERE rolname = :'role' AND r.oid IN (SELECT grantee FROM aclexplode(nspacl)) \gexec

SELECT :'tables' = '' AS all_tables, :'strict' <> 'off' AS strict \gset
\if :all_tables
-- Also what is made later, in every schema: no default privileges are needed. It is a right in every database of this
-- server that the role may enter. To close the others: REVOKE CONNECT ON DATABASE … FROM PUBLIC.
GRANT pg_read_all_data TO :"role";
\else
SELECT format('REVOKE pg_read_all_data FROM %I', rolname) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member
 WHERE rolname = :'role' AND m.roleid = 'pg_read_all_data'::regrole \gexec
SET LOCAL search_path = public, pg_catalog;  -- names without a schema are those of public, as in scope.yaml
DO $$
DECLARE
    role CONSTANT text := current_setting('backup_role.role');
    name text;
    relation regclass;
BEGIN
    FOREACH name IN ARRAY string_to_array(current_setting('backup_role.tables'), ',') LOOP
        relation := to_regclass(trim(name));
        IF relation IS NULL THEN
            RAISE 'there is no table % in this database', trim(name);
        END IF;
        -- The table, its partitions, and the sequences of its columns.
        FOR relation IN
            WITH tables AS (SELECT relation AS oid UNION SELECT relid FROM pg_partition_tree(relation))
            SELECT oid FROM tables
             UNION SELECT s.oid FROM pg_depend d JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S'
                     JOIN tables ON d.refobjid = tables.oid
                    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
                      AND d.deptype IN ('a', 'i')
        LOOP
            EXECUTE format('GRANT SELECT ON %s TO %I', relation, role);
            EXECUTE format('GRANT USAGE ON SCHEMA %s TO %I',
                           (SELECT relnamespace::regnamespace FROM pg_class WHERE oid = relation), role);
        END LOOP;
    END LOOP;
END $$;
SET LOCAL search_path = pg_catalog;
\endif

-- Row level security hides rows from whoever is neither owner nor exempt, and a backup without them is none: it is
-- refused. The exemption is given only where there is something to be exempt from.
SELECT format('ALTER ROLE %I BYPASSRLS', rolname) FROM pg_roles
 WHERE rolname = :'role' AND NOT rolbypassrls AND EXISTS (SELECT FROM pg_class WHERE relrowsecurity) \gexec

-- A second fence: a session may lift it, and then meets the first, that nothing was granted.
ALTER ROLE :"role" SET default_transaction_read_only = on;

\if :strict
REVOKE TEMPORARY ON DATABASE :"database" FROM PUBLIC;
SELECT 'REVOKE CREATE ON SCHEMA public FROM PUBLIC' FROM pg_namespace WHERE nspname = 'public' \gexec
\endif

\if :{?drill_role}
SELECT format('CREATE ROLE %I', :'drill_role')
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'drill_role') \gexec
ALTER ROLE :"drill_role" LOGIN CREATEDB;
\endif
COMMIT;
