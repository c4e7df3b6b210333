-- A platform for applications of others, in the shape of Supabase: several schemas, roles, row level security on
-- everything, functions that policies and views call, triggers from one schema into another, event triggers.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['tenants_anonymous', 'tenants_member', 'tenants_service'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', role);
        END IF;
    END LOOP;
END $$;
CREATE SCHEMA identity;
CREATE SCHEMA files;
CREATE SCHEMA feeds;
CREATE SCHEMA "Internal Tools";
CREATE SCHEMA hooks;
ALTER DEFAULT PRIVILEGES IN SCHEMA files GRANT SELECT ON TABLES TO tenants_member;

-- identity ---------------------------------------------------------------------------------------------------------
CREATE TYPE identity.level AS ENUM ('one', 'two', 'three');
CREATE TYPE identity.factor_kind AS ENUM ('totp', 'key', 'phone');
CREATE TYPE identity.factor_status AS ENUM ('unverified', 'verified');
CREATE TYPE identity.token_kind AS ENUM ('confirmation', 'recovery', 'email change: new', 'email change: current');
CREATE DOMAIN identity.email AS text CHECK (VALUE ~ '.');

CREATE FUNCTION identity.claim(name text) RETURNS text LANGUAGE sql STABLE AS
    $$ SELECT coalesce(nullif(current_setting('request.' || name, true), ''), nullif(current_setting('request.claims', true), '')::jsonb ->> name) $$;
CREATE FUNCTION identity.user_id() RETURNS uuid LANGUAGE sql STABLE AS $$ SELECT identity.claim('sub')::uuid $$;
CREATE FUNCTION identity.role() RETURNS text LANGUAGE sql STABLE AS $$ SELECT identity.claim('role') $$;
CREATE FUNCTION identity.jwt() RETURNS jsonb LANGUAGE sql STABLE SET search_path TO '' AS
    $$ SELECT nullif(current_setting('request.claims', true), '')::jsonb $$;

CREATE TABLE identity.instances (id uuid PRIMARY KEY, raw_base_config text, created_at timestamptz, updated_at timestamptz);
CREATE TABLE identity.users (
    instance_id uuid REFERENCES identity.instances,
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    audience varchar(255),
    email identity.email,
    encrypted_password varchar(255),
    confirmed_at timestamptz,
    phone text UNIQUE DEFAULT NULL::varchar,
    phone_change_token varchar(255) DEFAULT ''::varchar,
    meta jsonb,
    own_meta jsonb NOT NULL DEFAULT '{"provider": "email", "it''s": "\\"}',
    is_super_admin boolean,
    phone_confirmed_at timestamptz,
    active_at timestamptz GENERATED ALWAYS AS (LEAST(confirmed_at, phone_confirmed_at)) STORED,
    banned_until timestamptz,
    is_anonymous boolean NOT NULL DEFAULT false,
    change_status smallint DEFAULT 0 CONSTRAINT status_check CHECK (change_status >= 0 AND change_status <= 200),
    created_at timestamptz DEFAULT now()
);
COMMENT ON TABLE identity.users IS 'Identity: it''s "user" data; -- not a comment';
COMMENT ON COLUMN identity.users.active_at IS E'first of both\n\\.\n';
CREATE UNIQUE INDEX users_email_key ON identity.users (lower(email)) WHERE NOT is_anonymous;
CREATE INDEX users_claims ON identity.users USING gin (meta jsonb_path_ops);
CREATE TABLE identity.identities (
    provider_id text NOT NULL,
    user_id uuid NOT NULL REFERENCES identity.users ON DELETE CASCADE,
    data jsonb NOT NULL,
    provider text NOT NULL,
    email text GENERATED ALWAYS AS (lower(data ->> 'email')) STORED,
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    UNIQUE (provider_id, provider)
);
CREATE INDEX identities_email ON identity.identities (email text_pattern_ops);
CREATE TABLE identity.sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES identity.users ON DELETE CASCADE,
    level identity.level, not_after timestamptz, refreshed_at timestamp, agent text, ip inet, tag text,
    created_at timestamptz DEFAULT now()
);
CREATE TABLE identity.refresh_tokens (
    id bigserial PRIMARY KEY,
    token varchar(255) UNIQUE,
    user_id varchar(255), revoked boolean, parent varchar(255),
    session_id uuid REFERENCES identity.sessions ON DELETE CASCADE
);
CREATE TABLE identity.factors (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES identity.users ON DELETE CASCADE,
    name text, kind identity.factor_kind NOT NULL, status identity.factor_status NOT NULL, secret text,
    history identity.factor_status[],
    UNIQUE (id, user_id)
);
CREATE UNIQUE INDEX factors_name ON identity.factors (name, user_id) WHERE btrim(name) <> '';
CREATE TABLE identity.challenges (
    id uuid PRIMARY KEY, factor_id uuid NOT NULL, user_id uuid NOT NULL, created_at timestamptz NOT NULL, ip inet NOT NULL,
    FOREIGN KEY (factor_id, user_id) REFERENCES identity.factors (id, user_id) ON DELETE CASCADE
);
CREATE TABLE identity.one_time_tokens (
    id uuid PRIMARY KEY, user_id uuid NOT NULL REFERENCES identity.users ON DELETE CASCADE,
    kind identity.token_kind NOT NULL, hash text NOT NULL CHECK (char_length(hash) > 0), UNIQUE (user_id, kind)
);
CREATE INDEX one_time_tokens_hash ON identity.one_time_tokens USING hash (hash);
CREATE TABLE identity.providers (
    id uuid PRIMARY KEY, resource_id text CONSTRAINT "resource_id not empty" CHECK (resource_id IS NULL OR char_length(resource_id) > 0)
);
CREATE UNIQUE INDEX providers_resource_id ON identity.providers (lower(resource_id));
CREATE TABLE identity.provider_domains (
    id uuid PRIMARY KEY, provider_id uuid NOT NULL REFERENCES identity.providers ON DELETE CASCADE, domain text NOT NULL
);
CREATE TABLE identity.audit_log_entries (instance_id uuid, id uuid PRIMARY KEY, payload json, created_at timestamptz, ip varchar(64) NOT NULL DEFAULT ''::varchar);
CREATE TABLE identity.schema_migrations (version varchar(255) PRIMARY KEY);

-- files ------------------------------------------------------------------------------------------------------------
CREATE FUNCTION files.parts(name text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE AS $function$
BEGIN
    RETURN string_to_array(name, '/');
END $function$;
CREATE FUNCTION files.extension(name text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $function$
DECLARE
    last text := (parts(name))[array_length(parts(name), 1)];
BEGIN
    RETURN reverse(split_part(reverse(last), '.', 1));
END $function$;
ALTER FUNCTION files.extension(text) SET search_path = files, pg_temp;
CREATE TABLE files.buckets (
    id text PRIMARY KEY, name text NOT NULL UNIQUE, owner uuid, public boolean DEFAULT false,
    size_limit bigint, mime_types text[], created_at timestamptz DEFAULT now()
);
COMMENT ON COLUMN files.buckets.owner IS 'Field is deprecated';
CREATE TABLE files.objects (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    bucket_id text REFERENCES files.buckets,
    name text COLLATE "C",
    owner uuid REFERENCES identity.users,
    path text[] GENERATED ALWAYS AS (string_to_array(name, '/')) STORED,
    version text, metadata jsonb, level int, created_at timestamptz DEFAULT now()
);
CREATE UNIQUE INDEX objects_by_bucket ON files.objects (bucket_id, name COLLATE "C");
CREATE INDEX objects_extension ON files.objects (files.extension(name));
CREATE INDEX objects_prefix ON files.objects (name text_pattern_ops) INCLUDE (owner, version);
CREATE TABLE files.uploads (
    id text PRIMARY KEY, in_progress_size bigint NOT NULL DEFAULT 0, signature text NOT NULL,
    bucket_id text NOT NULL REFERENCES files.buckets, key text COLLATE "C" NOT NULL, owner_id text
);
CREATE TABLE files.upload_parts (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), upload_id text NOT NULL REFERENCES files.uploads ON DELETE CASCADE,
    part_number int NOT NULL, bucket_id text NOT NULL REFERENCES files.buckets, etag text NOT NULL
);
CREATE TABLE files.migrations (id int PRIMARY KEY, name varchar(100) NOT NULL UNIQUE, hash varchar(40) NOT NULL, at timestamp DEFAULT CURRENT_TIMESTAMP);

-- feeds ------------------------------------------------------------------------------------------------------------
CREATE TYPE feeds.equality AS ENUM ('eq', 'neq', 'lt', 'lte', 'gt', 'gte', 'in');
CREATE TYPE feeds.filter AS (column_name text, op feeds.equality, value text);
CREATE TABLE feeds.subscriptions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    subscription_id uuid NOT NULL,
    entity regclass NOT NULL DEFAULT 'files.objects'::regclass,
    filters feeds.filter[] NOT NULL DEFAULT ARRAY[ROW('a,b', 'eq', '"x"'), ROW(NULL, 'in', '(1,2)')]::feeds.filter[],
    claims jsonb NOT NULL,
    claims_role text GENERATED ALWAYS AS (claims ->> 'role') STORED
);
CREATE UNIQUE INDEX subscriptions_key ON feeds.subscriptions (subscription_id, entity, claims_role);
CREATE TABLE feeds.messages (
    topic text NOT NULL, payload jsonb, id uuid NOT NULL DEFAULT gen_random_uuid(), inserted_at timestamp NOT NULL DEFAULT now(),
    PRIMARY KEY (id, inserted_at)
) PARTITION BY RANGE (inserted_at);
CREATE TABLE feeds.messages_old PARTITION OF feeds.messages FOR VALUES FROM (MINVALUE) TO ('2026-01-01');
CREATE TABLE feeds.messages_new PARTITION OF feeds.messages DEFAULT;
CREATE FUNCTION feeds.is_visible(op feeds.equality, kind regtype, left_value text, right_value text) RETURNS boolean
    LANGUAGE plpgsql IMMUTABLE AS $_$
DECLARE
    answer boolean;
BEGIN
    EXECUTE format('SELECT %L::' || kind::text || ' %s %L::' || kind::text, left_value,
        CASE op WHEN 'eq' THEN '=' WHEN 'neq' THEN '<>' ELSE '<' END, right_value) INTO answer;
    RETURN answer;
END $_$;

-- The tenant's own tables --------------------------------------------------------------------------------------------
CREATE TYPE public.app_role AS ENUM ('owner', 'admin', 'member');
CREATE TABLE public.profiles (
    id uuid PRIMARY KEY REFERENCES identity.users ON DELETE CASCADE,
    username text UNIQUE CONSTRAINT username_length CHECK (char_length(username) >= 1),
    full_name text, avatar_url text, updated_at timestamptz
);
CREATE TABLE public.teams (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text NOT NULL, owner uuid REFERENCES public.profiles);
CREATE TABLE public.memberships (
    team_id bigint REFERENCES public.teams, profile_id uuid REFERENCES public.profiles, role public.app_role NOT NULL DEFAULT 'member',
    PRIMARY KEY (team_id, profile_id)
);
CREATE TABLE public."Notes & Things" (
    "id" serial PRIMARY KEY, "Team ID" bigint REFERENCES public.teams, "text" text, "select" boolean,
    "search" tsvector GENERATED ALWAYS AS (to_tsvector('simple', coalesce("text", ''))) STORED
);
CREATE INDEX "search it" ON public."Notes & Things" USING gin ("search");
CREATE FUNCTION public.is_member(team bigint) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public AS
    $$ SELECT EXISTS (SELECT FROM memberships WHERE team_id = team AND profile_id = identity.user_id()) $$;
CREATE VIEW public.my_teams WITH (security_barrier) AS
    SELECT t.*, m.role FROM public.teams t JOIN public.memberships m ON m.team_id = t.id WHERE m.profile_id = identity.user_id();
CREATE VIEW public.editable_teams AS SELECT id, name FROM public.teams WHERE name <> '' WITH CASCADED CHECK OPTION;
CREATE FUNCTION public.search_notes(wanted text) RETURNS SETOF public."Notes & Things" LANGUAGE sql STABLE AS
    $$ SELECT * FROM public."Notes & Things" WHERE "search" @@ plainto_tsquery('simple', wanted) $$;
CREATE TABLE "Internal Tools"."Queue.Items" ("Id" int PRIMARY KEY, "a.b" text, "100%" numeric(5, 2) DEFAULT 1);
CREATE FOREIGN DATA WRAPPER elsewhere;
CREATE SERVER other FOREIGN DATA WRAPPER elsewhere OPTIONS (address 'it''s there');
CREATE FOREIGN TABLE hooks.remote (id int, note text) SERVER other;

CREATE FUNCTION identity.new_user() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = '' AS $$
BEGIN
    INSERT INTO public.profiles (id, username) VALUES (NEW.id, NEW.email);
    RETURN NEW;
END $$;
CREATE TRIGGER on_user_created AFTER INSERT ON identity.users FOR EACH ROW EXECUTE FUNCTION identity.new_user();
CREATE FUNCTION hooks.call() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('hooks', format('%s %s', TG_ARGV[0], TG_TABLE_NAME));
    RETURN NULL;
END $$;
CREATE TRIGGER "call us" AFTER INSERT OR UPDATE OF name, level OR DELETE ON files.objects
    FOR EACH ROW WHEN (pg_trigger_depth() < 1) EXECUTE FUNCTION hooks.call('https://there/a?b=''c''');
CREATE TRIGGER statement_call AFTER UPDATE ON files.buckets REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION hooks.call('many');
CREATE CONSTRAINT TRIGGER checked_late AFTER INSERT ON public.teams DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION hooks.call('late');
CREATE FUNCTION hooks.watch() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN
    NOTIFY hooks, 'reload schema';
END $$;
CREATE EVENT TRIGGER tenants_watch ON ddl_command_end WHEN TAG IN ('CREATE TABLE', 'ALTER TABLE') EXECUTE FUNCTION hooks.watch();

DO $$
DECLARE
    secured regclass;
BEGIN
    FOR secured IN SELECT oid FROM pg_class WHERE relkind IN ('r', 'p') AND relnamespace::regnamespace::text IN
        ('identity', 'files', 'feeds', 'public', '"Internal Tools"') LOOP
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', secured);
    END LOOP;
END $$;
ALTER TABLE public.profiles FORCE ROW LEVEL SECURITY;
CREATE POLICY "Everybody sees public buckets." ON files.objects FOR SELECT TO tenants_anonymous, tenants_member
    USING (bucket_id IN (SELECT id FROM files.buckets WHERE public) AND (files.parts(name))[1] = 'public');
CREATE POLICY own_files ON files.objects AS RESTRICTIVE TO tenants_member USING (owner = identity.user_id())
    WITH CHECK (owner = identity.user_id() AND files.extension(name) <> 'exe');
CREATE POLICY "it's mine" ON public.profiles USING (id = (SELECT identity.user_id())) WITH CHECK (username <> 'admin;');
CREATE POLICY members ON public.memberships FOR ALL TO tenants_member USING (public.is_member(team_id));
CREATE POLICY services ON public.teams FOR UPDATE TO tenants_service USING (identity.role() = 'service');
CREATE POLICY topics ON feeds.messages FOR INSERT TO tenants_member WITH CHECK (topic LIKE 'room:%');
GRANT USAGE ON SCHEMA files, public TO tenants_anonymous, tenants_member;
GRANT SELECT (id, username) ON public.profiles TO tenants_anonymous;
CREATE PUBLICATION tenants_feed FOR TABLE public.teams, feeds.messages;
