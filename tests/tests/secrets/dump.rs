//! All that a store keeps, read past the store: as its engine tells it, and the bytes of its files.

use std::path::Path;

use ploy_webhooks_engines::{Postgres, Redis};
use redis::Value;
use rusqlite::types::ValueRef;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

/// Every file below that folder.
pub(crate) fn files_of(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files.extend(files_of(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            // A socket is no file, and what an engine has taken away meanwhile is none any more.
            files.push((path.display().to_string(), bytes));
        }
    }
    files
}

/// Every value of every table.
pub(crate) fn sqlite(database: &Path) -> Vec<(String, Vec<u8>)> {
    let connection = rusqlite::Connection::open(database).expect("the database opens");
    let mut tables = connection
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table'")
        .expect("there are tables");
    let tables: Vec<String> = tables
        .query_map([], |row| row.get(0))
        .and_then(Iterator::collect)
        .expect("tables have names");
    assert!(tables.iter().any(|table| table == "endpoints"), "{tables:?}");
    tables.into_iter().map(|table| (table.clone(), sqlite_table(&connection, &table))).collect()
}

fn sqlite_table(connection: &rusqlite::Connection, table: &str) -> Vec<u8> {
    let mut select = connection.prepare(&format!("SELECT * FROM \"{table}\"")).expect("a table");
    let columns = select.column_count();
    let mut rows = select.query([]).expect("it can be read");
    let mut bytes = Vec::new();
    while let Some(row) = rows.next().expect("it can be read to its end") {
        for column in 0..columns {
            match row.get_ref(column).expect("a column") {
                ValueRef::Text(value) | ValueRef::Blob(value) => bytes.extend_from_slice(value),
                ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => {}
            }
            bytes.push(b'\n');
        }
    }
    bytes
}

/// Every row of every table in text, in which bytes are in digits; and all files of the server,
/// its log among them, where it is this process's own.
pub(crate) fn postgres(url: &str) -> Vec<(String, Vec<u8>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let mut dump =
        runtime.expect("a runtime").block_on(postgres_tables(url)).expect("it can be read");
    assert!(dump.iter().any(|(table, rows)| table.contains("endpoints") && !rows.is_empty()));
    if std::env::var_os("DATABASE_URL").is_none() {
        let files = files_of(Postgres::shared().folder());
        assert!(files.len() > 10, "the files of the server can be read");
        dump.extend(files);
    }
    dump
}

async fn postgres_tables(url: &str) -> sqlx::Result<Vec<(String, Vec<u8>)>> {
    let mut connection = PgConnection::connect(url).await?;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT format('%I.%I', table_schema, table_name) FROM information_schema.tables
         WHERE table_schema NOT IN ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&mut connection)
    .await?;
    let mut dump = Vec::new();
    for table in tables {
        let select = AssertSqlSafe(format!("SELECT t::text FROM {table} t"));
        let rows: Vec<String> = sqlx::query_scalar(select).fetch_all(&mut connection).await?;
        dump.push((table, rows.join("\n").into()));
    }
    Ok(dump)
}

/// Every key with its value, and all files of the server where it is this process's own.
pub(crate) fn redis(url: &str) -> Vec<(String, Vec<u8>)> {
    let client = redis::Client::open(url).expect("it is a URL");
    let mut connection = client.get_connection().expect("the server is there");
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(&mut connection).expect("keys");
    assert!(!keys.is_empty());
    let mut dump = Vec::new();
    for key in keys {
        let kind: String = redis::cmd("TYPE").arg(&key).query(&mut connection).expect("a type");
        let (read, bounds): (_, &[&str]) = match kind.as_str() {
            "string" => ("GET", &[]),
            "hash" => ("HGETALL", &[]),
            "list" => ("LRANGE", &["0", "-1"]),
            "set" => ("SMEMBERS", &[]),
            "zset" => ("ZRANGE", &["0", "-1", "WITHSCORES"]),
            "stream" => ("XRANGE", &["-", "+"]),
            // Gone meanwhile.
            "none" => continue,
            other => panic!("a key of the type {other}"),
        };
        let value: Value =
            redis::cmd(read).arg(&key).arg(bounds).query(&mut connection).expect("a value");
        let mut bytes = key.clone();
        bytes_of(&value, &mut bytes);
        dump.push((String::from_utf8_lossy(&key).into_owned(), bytes));
    }
    if std::env::var_os("REDIS_URL").is_none() {
        let files = files_of(Redis::shared().folder());
        assert!(files.iter().any(|(name, bytes)| name.contains("appendonly") && !bytes.is_empty()));
        dump.extend(files);
    }
    dump
}

fn bytes_of(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::BulkString(text) => bytes.extend_from_slice(text),
        Value::Array(values) | Value::Set(values) => {
            values.iter().for_each(|value| bytes_of(value, bytes));
        }
        Value::Map(pairs) => {
            for (name, value) in pairs {
                bytes_of(name, bytes);
                bytes_of(value, bytes);
            }
        }
        other => bytes.extend_from_slice(format!("{other:?}").as_bytes()),
    }
    bytes.push(b'\n');
}
