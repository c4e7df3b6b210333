-- What follows the rows: indexes, foreign keys, triggers, and identity sequences moved past the loaded keys.

-- Indexes -----------------------------------------------------------------------------------------------

CREATE UNIQUE INDEX users_email_key ON public.users (lower(email));
CREATE INDEX users_active_members ON public.users (organization_id) WHERE status = 'active';
CREATE UNIQUE INDEX purchases_refunded_once ON public.purchases (refund_of) WHERE refund_of IS NOT NULL;
CREATE INDEX user_profiles_preferences ON public.user_profiles USING gin (preferences);

CREATE INDEX purchases_created_at ON public.purchases (created_at);
CREATE INDEX transfers_created_at ON public.transfers (created_at);
CREATE INDEX credit_transactions_created_at ON public.credit_transactions (created_at);
CREATE INDEX point_transactions_created_at ON public.point_transactions USING brin (created_at);
CREATE INDEX usage_logs_created_at ON public.usage_logs USING brin (created_at);
CREATE INDEX audit_logs_created_at ON public.audit_logs USING brin (created_at);

-- Name search, where the server has the extension and this role may create it; no column depends on it.
DO $$
BEGIN
    IF EXISTS (
        SELECT FROM pg_available_extension_versions
        WHERE name = 'pg_trgm' AND trusted AND name NOT IN (SELECT extname FROM pg_extension)
        AND has_database_privilege(current_database(), 'CREATE')
    ) THEN
        CREATE EXTENSION pg_trgm SCHEMA public;
        CREATE INDEX users_name_search ON public.users USING gin (display_name public.gin_trgm_ops);
    END IF;
END
$$;

-- Foreign keys ------------------------------------------------------------------------------------------

ALTER TABLE public.role_permissions
    ADD FOREIGN KEY (role_id) REFERENCES public.roles ON DELETE CASCADE,
    ADD FOREIGN KEY (permission_id) REFERENCES public.permissions ON DELETE CASCADE;
ALTER TABLE public.users ADD FOREIGN KEY (organization_id) REFERENCES public.organizations;
ALTER TABLE public.organizations ADD FOREIGN KEY (owner_id) REFERENCES public.users;
ALTER TABLE public.agencies ADD FOREIGN KEY (organization_id) REFERENCES public.organizations;
ALTER TABLE public.user_profiles ADD FOREIGN KEY (user_id) REFERENCES public.users ON DELETE CASCADE;
ALTER TABLE public.user_roles
    ADD FOREIGN KEY (user_id) REFERENCES public.users ON DELETE CASCADE,
    ADD FOREIGN KEY (role_id) REFERENCES public.roles,
    ADD FOREIGN KEY (granted_by) REFERENCES public.users;
ALTER TABLE public.referrals
    ADD FOREIGN KEY (referrer_id) REFERENCES public.users,
    ADD FOREIGN KEY (referred_id) REFERENCES public.users;
ALTER TABLE public.system_settings ADD FOREIGN KEY (updated_by) REFERENCES public.users;
ALTER TABLE public.credit_accounts ADD FOREIGN KEY (user_id) REFERENCES public.users;
ALTER TABLE public.point_accounts ADD FOREIGN KEY (user_id) REFERENCES public.users;
ALTER TABLE public.purchases
    ADD FOREIGN KEY (user_id) REFERENCES public.users,
    ADD FOREIGN KEY (refund_of) REFERENCES public.purchases;
ALTER TABLE public.transfers
    ADD FOREIGN KEY (from_user_id) REFERENCES public.users,
    ADD FOREIGN KEY (to_user_id) REFERENCES public.users;
ALTER TABLE public.credit_transactions
    ADD FOREIGN KEY (account_id) REFERENCES public.credit_accounts,
    ADD FOREIGN KEY (purchase_id) REFERENCES public.purchases,
    ADD FOREIGN KEY (transfer_id) REFERENCES public.transfers;
ALTER TABLE public.point_transactions
    ADD FOREIGN KEY (user_id) REFERENCES public.users,
    ADD FOREIGN KEY (purchase_id) REFERENCES public.purchases;
ALTER TABLE public.sessions ADD FOREIGN KEY (user_id) REFERENCES public.users ON DELETE CASCADE;
ALTER TABLE public.usage_logs ADD FOREIGN KEY (user_id) REFERENCES public.users;
ALTER TABLE public.audit_logs ADD FOREIGN KEY (actor_id) REFERENCES public.users;

-- Triggers; their functions name every object with its schema, so that an empty search_path does no harm --

CREATE FUNCTION public.keep_updated_at() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.updated_at := now();
    RETURN NEW;
END
$$;

CREATE FUNCTION public.audit_user_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.audit_logs (actor_id, action, details)
    VALUES (NEW.id, 'user.changed', jsonb_build_object('from', OLD.status, 'to', NEW.status));
    RETURN NULL;
END
$$;

CREATE TRIGGER users_keep_updated_at BEFORE UPDATE ON public.users
    FOR EACH ROW EXECUTE FUNCTION public.keep_updated_at();
CREATE TRIGGER credit_accounts_keep_updated_at BEFORE UPDATE ON public.credit_accounts
    FOR EACH ROW EXECUTE FUNCTION public.keep_updated_at();
CREATE TRIGGER system_settings_keep_updated_at BEFORE UPDATE ON public.system_settings
    FOR EACH ROW EXECUTE FUNCTION public.keep_updated_at();
CREATE TRIGGER users_audit_change AFTER UPDATE OF status ON public.users
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION public.audit_user_change();

-- Rows brought their own keys, so every identity sequence goes on after the highest ---------------------

DO $$
DECLARE
    identity_column record;
BEGIN
    FOR identity_column IN
        SELECT attrelid::regclass AS table_name, attname AS column_name
        FROM pg_attribute
        WHERE attidentity <> '' AND attrelid IN (
            SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
        )
    LOOP
        EXECUTE format(
            'SELECT setval(pg_get_serial_sequence(%L, %L), max(%I)) FROM %s',
            identity_column.table_name, identity_column.column_name,
            identity_column.column_name, identity_column.table_name
        );
    END LOOP;
END
$$;
