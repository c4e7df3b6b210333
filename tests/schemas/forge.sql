-- A forge for code, in the shape of GitLab: large and conventional. One schema, about 200 tables, hundreds of foreign
-- keys and indexes, of which many partial; circles and trees; a function of each table's row type; checks on lengths;
-- triggers that keep columns in step; some partitions in schemas of their own.
CREATE SCHEMA partitions_static;
CREATE SCHEMA partitions_dynamic;
COMMENT ON SCHEMA partitions_dynamic IS 'Partitions that the application makes, for example by month.';

CREATE FUNCTION assign_build_id() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW."id" IS NOT NULL THEN
        RAISE WARNING 'ids are given by the sequence; % is ignored', NEW.id;
    END IF;
    NEW."id" := nextval('builds_id_seq'::regclass);
    RETURN NEW;
END $$;

-- What everything hangs on; users, spaces and projects refer to one another in circles.
CREATE TABLE organizations (id bigserial PRIMARY KEY, name text DEFAULT '' NOT NULL, path text NOT NULL UNIQUE, created_at timestamptz);
CREATE TABLE users (
    id bigserial PRIMARY KEY, email varchar DEFAULT ''::varchar NOT NULL, encrypted_password varchar DEFAULT ''::varchar NOT NULL,
    created_at timestamp, updated_at timestamp, name varchar, admin boolean DEFAULT false NOT NULL, projects_limit integer NOT NULL,
    username varchar, state varchar, last_sign_in_ip varchar, two_factor_grace_period integer DEFAULT 48 NOT NULL, last_activity_on date,
    managing_space_id bigint, accepted_term_id bigint, user_type smallint DEFAULT 0, token text, role smallint,
    CONSTRAINT check_7bde697e8e CHECK (char_length(token) <= 255), CONSTRAINT check_0dd5948e38 CHECK (user_type IS NOT NULL)
);
CREATE UNIQUE INDEX index_users_on_email ON users (email);
CREATE INDEX index_users_on_name_lower ON users (lower((name)::text));
CREATE INDEX index_active_users ON users (id, last_activity_on) WHERE state::text = 'active'::text AND user_type = ANY (ARRAY[0, 6, 4]);
CREATE TABLE spaces (
    id bigserial PRIMARY KEY, name varchar NOT NULL, path varchar NOT NULL, owner_id bigint, created_at timestamp, updated_at timestamp,
    type varchar DEFAULT 'User'::varchar NOT NULL, parent_id bigint REFERENCES spaces, traversal_ids bigint[] DEFAULT '{}'::bigint[] NOT NULL,
    organization_id bigint REFERENCES organizations, file_template_project_id bigint, description_html text,
    CONSTRAINT check_2eae3bdf93 CHECK (organization_id IS NOT NULL)
);
CREATE INDEX index_spaces_on_traversal_ids ON spaces USING gin (traversal_ids);
CREATE INDEX index_spaces_roots ON spaces (id, (traversal_ids[1])) WHERE parent_id IS NULL;
CREATE TABLE projects (
    id bigserial PRIMARY KEY, name varchar, path varchar, description text, created_at timestamp, updated_at timestamp, creator_id bigint,
    space_id bigint NOT NULL REFERENCES spaces, project_space_id bigint REFERENCES spaces ON DELETE CASCADE,
    visibility_level integer DEFAULT 0 NOT NULL, archived boolean DEFAULT false NOT NULL, star_count integer DEFAULT 0 NOT NULL,
    mirror_user_id bigint, pool_id bigint, external_token varchar, secret_on boolean DEFAULT false, secret_available boolean DEFAULT false,
    pull_mirror_branch_prefix varchar(50), marked_for_deletion_at date
);
CREATE UNIQUE INDEX index_projects_on_space_and_path ON projects (space_id, path);
CREATE INDEX index_projects_api ON projects (created_at DESC NULLS LAST, id DESC) INCLUDE (visibility_level) WHERE NOT archived;
ALTER TABLE users ADD CONSTRAINT fk_managing_space FOREIGN KEY (managing_space_id) REFERENCES spaces ON DELETE SET NULL;
ALTER TABLE spaces ADD CONSTRAINT fk_template FOREIGN KEY (file_template_project_id) REFERENCES projects ON DELETE SET NULL NOT VALID;
ALTER TABLE projects ADD CONSTRAINT fk_creator FOREIGN KEY (creator_id) REFERENCES users ON DELETE SET NULL;
CREATE FUNCTION keep_secret_in_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW."secret_on" IS NOT DISTINCT FROM 'false' AND NEW."secret_available" IS DISTINCT FROM 'false' THEN
        NEW."secret_on" = NEW."secret_available";
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER trigger_1baf8c8e1f66 BEFORE INSERT OR UPDATE OF secret_available ON projects FOR EACH ROW EXECUTE FUNCTION keep_secret_in_step();

-- What belongs to a space, a project or a user: name, its parent, its second parent.
CREATE TEMPORARY TABLE wanted (position serial, name text, parent text, other text, kind text);
INSERT INTO wanted (kind, parent, other, name)
SELECT kind, parent, other, unnest(string_to_array(names, ' ')) FROM (VALUES
    ('thing', 'projects', 'users', 'issues merge_requests snippets releases milestones environments pipelines packages wikis boards designs requirements alerts feature_flags'),
    ('thing', 'spaces', 'users', 'epics iterations labels custom_emoji dashboards value_streams compliance_frameworks external_destinations'),
    ('thing', 'organizations', 'users', 'topics runners broadcast_messages ai_models work_item_types badges'),
    ('settings', 'projects', '', 'project_ci_settings project_pages project_features project_statistics project_error_tracking project_incident_settings project_security_settings project_mirror_data project_import_data project_repositories project_daily_settings'),
    ('settings', 'spaces', '', 'space_settings space_details space_limits space_ci_settings space_package_settings space_statistics space_features space_merge_settings'),
    ('settings', 'users', '', 'user_details user_preferences user_statuses user_highest_roles user_credit_checks user_canonical_emails user_synced_profiles'),
    ('settings', 'issues', '', 'issue_metrics issue_emails issue_search_data issue_severities issue_sentry'),
    ('settings', 'merge_requests', '', 'merge_request_metrics merge_request_cleanups merge_request_search merge_request_blocks_data'),
    ('settings', 'packages', '', 'package_maven package_npm package_nuget package_pypi package_conan package_debian package_helm package_rpm'),
    ('join', 'projects', 'users', 'project_authorizations project_members project_stars project_approvers project_access_levels project_saved_replies'),
    ('join', 'projects', 'spaces', 'project_space_links project_deploy_spaces project_relations'),
    ('join', 'spaces', 'users', 'space_members space_bans space_approvers space_saved_views space_wiki_readers'),
    ('join', 'issues', 'users', 'issue_assignees issue_subscriptions issue_mentions issue_votes'),
    ('join', 'issues', 'labels', 'issue_labels'),
    ('join', 'issues', 'epics', 'epic_issues'),
    ('join', 'merge_requests', 'users', 'merge_request_assignees merge_request_reviewers merge_request_approvals merge_request_mentions'),
    ('join', 'merge_requests', 'issues', 'merge_request_closing_issues'),
    ('join', 'epics', 'labels', 'epic_labels'),
    ('join', 'environments', 'feature_flags', 'environment_flags'),
    ('join', 'topics', 'projects', 'project_topics'),
    ('join', 'runners', 'projects', 'runner_projects'),
    ('join', 'runners', 'spaces', 'runner_spaces'),
    ('event', 'projects', 'users', 'events push_events deployments web_hooks audit_project_changes project_export_states import_failures deploy_keys deploy_tokens protected_branches protected_tags container_repositories secure_files'),
    ('event', 'spaces', 'users', 'space_audit_changes space_hooks space_import_states space_deletion_schedules space_exports credit_grants seat_assignments'),
    ('event', 'users', 'organizations', 'emails keys gpg_keys access_tokens webauthn_registrations identities abuse_reports user_notices user_callouts achievements terms_agreements'),
    ('event', 'issues', 'users', 'issue_state_events issue_weight_events issue_milestone_events issue_timelogs issue_notes'),
    ('event', 'merge_requests', 'users', 'merge_request_diffs merge_request_state_events merge_request_timelogs merge_request_notes merge_request_reviews merge_trains'),
    ('event', 'pipelines', 'users', 'stages bridges pipeline_schedules pipeline_messages pipeline_artifacts pipeline_sources test_reports'),
    ('event', 'packages', 'users', 'package_files package_tags package_build_infos package_dependencies package_downloads'),
    ('event', 'epics', 'users', 'epic_notes epic_state_events epic_dates'),
    ('event', 'milestones', 'users', 'milestone_releases milestone_notes'),
    ('event', 'releases', 'users', 'release_links release_evidences'),
    ('event', 'runners', 'users', 'runner_machines runner_versions runner_taggings'),
    ('event', 'boards', 'users', 'board_lists board_views board_preferences'),
    ('event', 'alerts', 'users', 'alert_notes alert_assignees alert_images'),
    ('event', 'designs', 'users', 'design_versions design_actions'),
    ('event', 'snippets', 'users', 'snippet_notes snippet_statistics snippet_mentions')
) AS kinds (kind, parent, other, names);
DO $$
DECLARE
    one record;
BEGIN
    FOR one IN SELECT *, regexp_replace(name, '^.*_', '') AS last FROM wanted ORDER BY position LOOP
        CASE one.kind
        WHEN 'thing' THEN
            EXECUTE format($f$
                CREATE TABLE %1$I (
                    id bigserial PRIMARY KEY, iid integer NOT NULL, %2$s_id bigint NOT NULL REFERENCES %2$I ON DELETE CASCADE,
                    author_id bigint REFERENCES users ON DELETE SET NULL, parent_id bigint REFERENCES %1$I (id) ON DELETE SET NULL,
                    title varchar(255) DEFAULT ''::varchar, title_html text, description text, state smallint DEFAULT 1 NOT NULL,
                    due_date date, closed_at timestamptz, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
                    weight numeric(10, 2), confidential boolean DEFAULT false NOT NULL, version bytea, options jsonb DEFAULT '{}'::jsonb NOT NULL,
                    CONSTRAINT check_%3$s CHECK (char_length(description) <= 1048576), CONSTRAINT %4$I UNIQUE (%2$s_id, iid)
                );
                CREATE INDEX ON %1$I (author_id) WHERE author_id IS NOT NULL;
                CREATE INDEX ON %1$I USING gin (to_tsvector('simple', coalesce(title, '') || ' ' || coalesce(description, '')));
                CREATE INDEX ON %1$I (state, created_at DESC, id DESC) WHERE NOT confidential;
                CREATE INDEX ON %1$I (parent_id);
                CREATE FUNCTION %5$I(wanted bigint) RETURNS %1$I LANGUAGE plpgsql STABLE COST 1 PARALLEL SAFE AS
                    'BEGIN RETURN (SELECT %1$I FROM %1$I WHERE id = wanted LIMIT 1); END;'$f$,
                one.name, one.parent, left(md5(one.name), 10), 'iid of ' || one.name, 'find_' || one.name || '_by_id');
        WHEN 'settings' THEN
            EXECUTE format($f$
                CREATE TABLE %1$I (
                    %2$s_id bigint PRIMARY KEY REFERENCES %2$I ON DELETE CASCADE, enabled boolean DEFAULT true NOT NULL,
                    amount bigint DEFAULT 0 NOT NULL, changed_at timestamptz, value text DEFAULT 'it''s; \n'::text, allowed text[] DEFAULT '{}'::text[] NOT NULL,
                    limits jsonb DEFAULT '{"a": [1, null]}'::jsonb, lock_version integer DEFAULT 0,
                    CONSTRAINT check_%3$s CHECK (char_length(value) <= 4000), CONSTRAINT %4$I CHECK (jsonb_typeof(limits) = 'object')
                );
                CREATE INDEX ON %1$I (changed_at, %2$s_id) WHERE enabled$f$,
                one.name, one.parent, left(md5(one.name), 10), one.name || ' is an object');
        WHEN 'join' THEN
            EXECUTE format($f$
                CREATE TABLE %1$I (
                    %2$s_id bigint NOT NULL, %3$s_id bigint NOT NULL, access_level integer DEFAULT 30 NOT NULL, expires_at date,
                    PRIMARY KEY (%2$s_id, %3$s_id), CONSTRAINT fk_rails_%4$s FOREIGN KEY (%2$s_id) REFERENCES %2$I ON DELETE CASCADE
                );
                ALTER TABLE ONLY %1$I ADD CONSTRAINT fk_%4$s FOREIGN KEY (%3$s_id) REFERENCES %3$I ON DELETE CASCADE;
                CREATE INDEX ON %1$I (%3$s_id, access_level)$f$, one.name, one.parent, one.other, left(md5(one.name), 10));
        ELSE
            EXECUTE format($f$
                CREATE TABLE %1$I (
                    id bigint NOT NULL, %2$s_id bigint NOT NULL, %3$s_id bigint, created_at timestamptz DEFAULT now() NOT NULL,
                    action smallint, sha bytea, payload jsonb, note text, position integer, uuid uuid DEFAULT gen_random_uuid(), name varchar(63),
                    cost numeric(18, 4) DEFAULT 0.0, lasted interval
                );
                CREATE SEQUENCE %4$I START WITH 1 INCREMENT BY 1 NO MINVALUE NO MAXVALUE CACHE 1;
                ALTER SEQUENCE %4$I OWNED BY %1$I.id;
                ALTER TABLE ONLY %1$I ALTER COLUMN id SET DEFAULT nextval('%4$I'::regclass);
                ALTER TABLE ONLY %1$I ADD CONSTRAINT %5$I PRIMARY KEY (id);
                ALTER TABLE ONLY %1$I ADD CONSTRAINT fk_rails_%6$s FOREIGN KEY (%2$s_id) REFERENCES %2$I (id) ON DELETE CASCADE;
                ALTER TABLE %1$I ADD CONSTRAINT fk_%6$s FOREIGN KEY (%3$s_id) REFERENCES %3$I (id) ON DELETE SET NULL DEFERRABLE;
                CREATE INDEX ON %1$I (%2$s_id, created_at);
                CREATE INDEX ON %1$I (%3$s_id);
                CREATE UNIQUE INDEX ON %1$I (uuid) WHERE position IS NOT NULL;
                COMMENT ON COLUMN %1$I.payload IS 'what "%1$s" did; -- \restrict no'$f$,
                one.name, one.parent, one.other, one.name || '_id_seq', one.name || '_pkey', left(md5(one.name), 10));
        END CASE;
    END LOOP;
END $$;
DROP TABLE wanted;

-- Builds: by number of a partition, in a schema of their own, with keys from partition to partition.
CREATE SEQUENCE builds_id_seq;
CREATE TABLE builds (
    id bigint NOT NULL, partition_id bigint NOT NULL, pipeline_id bigint REFERENCES pipelines ON DELETE CASCADE, status varchar, created_at timestamp,
    options text, scheduled_at timestamptz, CONSTRAINT builds_pkey PRIMARY KEY (id, partition_id)
) PARTITION BY LIST (partition_id);
CREATE TABLE partitions_dynamic.builds_100 PARTITION OF builds FOR VALUES IN (1, 2, 3, 4, 5, 100);
CREATE TABLE partitions_dynamic.builds_rest PARTITION OF builds DEFAULT;
CREATE INDEX p_builds_status ON ONLY builds (status, created_at);
CREATE INDEX builds_100_status ON partitions_dynamic.builds_100 (status, created_at);
ALTER INDEX p_builds_status ATTACH PARTITION partitions_dynamic.builds_100_status;
CREATE TRIGGER assign_build_id BEFORE INSERT ON builds FOR EACH ROW EXECUTE FUNCTION assign_build_id();
CREATE TABLE build_needs (
    id bigserial PRIMARY KEY, build_id bigint NOT NULL, partition_id bigint NOT NULL, name text NOT NULL,
    FOREIGN KEY (partition_id, build_id) REFERENCES builds (partition_id, id) ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE issue_search (project_id bigint NOT NULL, issue_id bigint NOT NULL, vector tsvector, PRIMARY KEY (project_id, issue_id)) PARTITION BY HASH (project_id);
DO $$
BEGIN
    FOR number IN 0..31 LOOP
        EXECUTE format('CREATE TABLE partitions_static.issue_search_%s PARTITION OF issue_search FOR VALUES WITH (MODULUS 32, REMAINDER %s)',
            to_char(number, 'FM00'), number);
    END LOOP;
END $$;
ALTER TABLE issue_search ADD FOREIGN KEY (issue_id) REFERENCES issues ON DELETE CASCADE;
CREATE INDEX issue_search_vector ON issue_search USING gin (vector) WITH (fastupdate = off);
CREATE TABLE loose_foreign_keys_deleted_records (
    id bigint GENERATED ALWAYS AS IDENTITY, partition bigint DEFAULT 1 NOT NULL, primary_key_value bigint NOT NULL,
    status smallint DEFAULT 1 NOT NULL, fully_qualified_table_name text NOT NULL, PRIMARY KEY (id, partition),
    CONSTRAINT check_1a541f3235 CHECK (char_length(fully_qualified_table_name) <= 150)
);
CREATE FUNCTION insert_into_loose_foreign_keys_deleted_records() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO loose_foreign_keys_deleted_records (fully_qualified_table_name, primary_key_value)
    SELECT TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, old_table.id FROM old_table;
    RETURN NULL;
END $$;
CREATE TRIGGER projects_loose_fk_trigger AFTER DELETE ON projects REFERENCING OLD TABLE AS old_table
    FOR EACH STATEMENT EXECUTE FUNCTION insert_into_loose_foreign_keys_deleted_records();
CREATE TABLE schema_migrations (version varchar NOT NULL PRIMARY KEY, finished_at timestamptz DEFAULT now());
CREATE TABLE ar_internal_metadata (key varchar PRIMARY KEY, value varchar, created_at timestamp(6) NOT NULL, updated_at timestamp(6) NOT NULL);
CREATE VIEW postgres_foreign_keys AS
    SELECT c.oid, n.nspname || '.' || t.relname AS source, c.conname AS name, pg_get_constraintdef(c.oid) AS definition
      FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_namespace n ON n.oid = t.relnamespace WHERE c.contype = 'f';
CREATE VIEW project_overview AS
    SELECT p.id, p.name, s.path, (SELECT count(*) FROM issues i WHERE i.projects_id = p.id) AS issues, u.username
      FROM projects p JOIN spaces s ON s.id = p.space_id LEFT JOIN users u ON u.id = p.creator_id;
