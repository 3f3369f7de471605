//! `check`: what it finds of a store, on each engine, and that it changes nothing by itself.

#[cfg(test)]
mod check {
    use std::path::Path;
    use std::process::{Command, Output};

    use ploy_webhooks_engines::{Postgres, Redis};
    use ploy_webhooks_tests::{Server, Store};
    use serde_json::Value;
    use sqlx::{Connection, PgConnection};

    const PROGRAM: &str = env!("CARGO_BIN_EXE_ploy-webhooks-under-test");

    fn check(folder: &Path, store: &str, args: &[&str]) -> Output {
        let mut command = Command::new(PROGRAM);
        command.args(["check", "--store", store]).args(args).current_dir(folder).env_clear();
        command.output().unwrap()
    }

    fn said(output: &Output) -> String {
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn found(output: &Output) -> Value {
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)))
    }

    /// There is none, then it is made, then it is there: the engine, and how far it is.
    fn is_made_when_it_is_asked_for(folder: &Path, store: &str, engine: &str) {
        for _ in 0..2 {
            let missing = check(folder, store, &["--json"]);
            assert_eq!(missing.status.code(), Some(1), "{}", said(&missing));
            assert_eq!(found(&missing)["format"]["state"], "missing");
            assert!(said(&missing).contains("--migrate"), "{}", said(&missing));
        }
        let made = check(folder, store, &["--migrate", "--json"]);
        assert!(made.status.success(), "{}", said(&made));
        let there = check(folder, store, &["--json"]);
        assert!(there.status.success(), "{}", said(&there));
        let there = found(&there);
        assert_eq!(there["format"]["state"], "current", "{there}");
        assert_eq!(
            (&there["promises_kept"], &there["faults"]),
            (&true.into(), &Value::Array(vec![]))
        );
        assert!(there["engine"].as_str().unwrap().starts_with(engine), "{there}");
        let shown = check(folder, store, &[]);
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert!(shown.contains(engine) && shown.contains("up to date"), "{shown}");
    }

    fn is_behind(folder: &Path, store: &str) {
        let behind = check(folder, store, &["--json"]);
        assert_eq!(behind.status.code(), Some(1));
        assert_eq!(found(&behind)["format"]["state"], "behind");
        assert!(said(&behind).contains("--migrate"), "{}", said(&behind));
    }

    fn is_refused(folder: &Path, store: &str, because: &str) {
        let refused = check(folder, store, &["--json"]);
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        assert!(said(&refused).contains(because), "{}", said(&refused));
        assert_eq!(found(&refused)["promises_kept"], false);
    }

    #[test]
    fn of_sqlite() {
        let folder = tempfile::tempdir().unwrap();
        is_made_when_it_is_asked_for(folder.path(), "sqlite:ploy.db", "SQLite 3.");
        let key = found(&check(folder.path(), "sqlite:ploy.db", &["--json"]));
        assert!(key["master_key"].as_str().unwrap().contains("first start"), "{key}");

        // A server that has the store goes on with it.
        let server = Server::start(PROGRAM, Store::Sqlite(folder.path()), &[]);
        let without_key = check(folder.path(), "sqlite:ploy.db", &[]);
        assert_eq!(without_key.status.code(), Some(1));
        assert!(said(&without_key).contains("is missing"), "{}", said(&without_key));
        // That which the server was given.
        let key = "YS1tYXN0ZXIta2V5LWZvci10ZXN0cy1vZi0zMi1ieXQ=";
        std::fs::write(folder.path().join("master.key"), key).unwrap();
        let with_key = check(folder.path(), "sqlite:ploy.db", &[]);
        assert!(with_key.status.success(), "{}", said(&with_key));
        drop(server);

        let path = folder.path().join("ploy.db");
        let database = rusqlite::Connection::open(&path).unwrap();
        let version: i32 =
            database.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
        database.pragma_update(None, "user_version", version - 1).unwrap();
        is_behind(folder.path(), "sqlite:ploy.db");
        database.pragma_update(None, "user_version", version + 1).unwrap();
        is_refused(folder.path(), "sqlite:ploy.db", "newer");

        rusqlite::Connection::open(folder.path().join("other.db"))
            .unwrap()
            .execute_batch("CREATE TABLE a (b)")
            .unwrap();
        is_refused(folder.path(), "sqlite:other.db", "another program");
        std::fs::write(folder.path().join("text.db"), "no database at all".repeat(99)).unwrap();
        assert_eq!(check(folder.path(), "sqlite:text.db", &[]).status.code(), Some(1));

        std::fs::write(folder.path().join("master.key"), "no key").unwrap();
        database.pragma_update(None, "user_version", version).unwrap();
        let unusable = check(folder.path(), "sqlite:ploy.db", &[]);
        assert_eq!(unusable.status.code(), Some(1));
        assert!(said(&unusable).contains("master.key"), "{}", said(&unusable));
    }

    fn run_in(database: &str, sql: &'static str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = PgConnection::connect(database).await.unwrap();
            sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        });
    }

    #[test]
    fn of_postgres() {
        let folder = tempfile::tempdir().unwrap();
        let url = Postgres::shared().database();
        is_made_when_it_is_asked_for(folder.path(), &url, "PostgreSQL 1");
        run_in(
            &url,
            "UPDATE ploy.migrations SET success = false
             WHERE version = (SELECT max(version) FROM ploy.migrations)",
        );
        is_behind(folder.path(), &url);

        let lax = Postgres::start_with(&[("synchronous_commit", "off")]);
        is_refused(folder.path(), &lax.database(), "synchronous_commit");
        let database = lax.database();
        lax.stop();
        let gone = check(folder.path(), &database, &[]);
        assert_eq!(gone.status.code(), Some(1));
        assert!(said(&gone).contains("cannot connect"), "{}", said(&gone));
    }

    #[test]
    fn of_redis() {
        let folder = tempfile::tempdir().unwrap();
        let server = Redis::start();
        is_made_when_it_is_asked_for(folder.path(), server.url(), "Redis ");
        let client = redis::Client::open(server.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let keys: Vec<String> = redis::cmd("KEYS").arg("*meta").query(&mut connection).unwrap();
        let set = |connection: &mut redis::Connection, format: &str| {
            let mut set = redis::cmd("HSET");
            set.arg(&keys[0]).arg("format").arg(format).query::<()>(connection).unwrap();
        };
        set(&mut connection, "2");
        is_behind(folder.path(), server.url());
        let advanced = check(folder.path(), server.url(), &["--migrate"]);
        assert!(advanced.status.success(), "{}", said(&advanced));
        set(&mut connection, "99");
        is_refused(folder.path(), server.url(), "another version");
        set(&mut connection, "3");
        redis::cmd("CONFIG")
            .arg("SET")
            .arg("maxmemory-policy")
            .arg("allkeys-lru")
            .query::<()>(&mut connection)
            .unwrap();
        is_refused(folder.path(), server.url(), "noeviction");
    }

    #[test]
    fn of_memory_and_of_settings_that_cannot_be_used() {
        let folder = tempfile::tempdir().unwrap();
        let memory = check(folder.path(), "memory:", &["--json"]);
        assert!(memory.status.success(), "{}", said(&memory));
        assert_eq!(found(&memory)["master_key"], "none is needed");

        let file = folder.path().join("ploy.toml");
        for (text, named) in [
            ("run_lease_ms = 1", "run_lease_ms"),
            ("lisen = 'a'", "lisen"),
            ("listen = 'a'", "listen"),
        ] {
            std::fs::write(&file, text).unwrap();
            let wrong = check(folder.path(), "memory:", &["--config", "ploy.toml"]);
            assert_eq!(wrong.status.code(), Some(2));
            assert!(said(&wrong).contains(named), "{}", said(&wrong));
        }
        let url = "postgres://user:hunter2@127.0.0.1:1/db";
        let unreachable = check(folder.path(), url, &[]);
        assert_eq!(unreachable.status.code(), Some(1));
        assert!(!said(&unreachable).contains("hunter2"), "{}", said(&unreachable));
    }
}
