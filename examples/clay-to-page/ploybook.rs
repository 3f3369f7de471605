//! The Ploybook: a page from a template, and its URL back to the table.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use minijinja::Environment;
use minijinja::value::Serde;
use ploy_webhooks::RunId;
use ploy_webhooks::trigger::{Job, Output, RunError, TriggerRunner};
use serde_json::{Value, json};

/// Makes a page for each event.
#[derive(Debug)]
pub(crate) struct PageMaker {
    templates: Environment<'static>,
    site: PathBuf,
    public_url: String,
    table_url: String,
    http: reqwest::Client,
}

impl PageMaker {
    pub(crate) fn new(
        site: &Path,
        public_url: &str,
        table_url: &str,
    ) -> Result<Self, minijinja::Error> {
        let mut templates = Environment::new();
        // By its name it is HTML: values are escaped, whatever a row has in its cells.
        templates.add_template("page.html", include_str!("page.html"))?;
        Ok(Self {
            templates,
            site: site.to_owned(),
            public_url: public_url.to_owned(),
            table_url: table_url.to_owned(),
            http: reqwest::Client::new(),
        })
    }

    /// Writes the page where it is served from. A second attempt writes the same page again, and
    /// so does a second row of the company.
    async fn publish(&self, slug: &str, run: RunId, page: String) -> std::io::Result<()> {
        let folder = self.site.join("for").join(slug);
        tokio::fs::create_dir_all(&folder).await?;
        // Nobody is ever served half a page.
        let unfinished = folder.join(run.to_string());
        tokio::fs::write(&unfinished, page).await?;
        tokio::fs::rename(unfinished, folder.join("index.html")).await
    }

    /// Posts the URL to the table. The run's id lets the table tell a repeat.
    async fn write_back(&self, job: &Job, row: &Value) -> Result<(), RunError> {
        let request = self
            .http
            .post(&self.table_url)
            .header("content-type", "application/json")
            .header("idempotency-key", job.run.to_string())
            .body(row.to_string());
        let answered = request.send().await.and_then(reqwest::Response::error_for_status);
        // The URL of a table opens it: it has no place on record.
        answered.map_err(|error| RunError::retry(format!("the table: {}", error.without_url())))?;
        Ok(())
    }
}

#[async_trait]
impl TriggerRunner for PageMaker {
    async fn run(&self, job: Job) -> Result<Output, RunError> {
        // The fields that the endpoint names: that the company is there is seen to by then.
        let fields: Value = serde_json::from_str(&job.fields.to_json())
            .map_err(|error| RunError::permanent(error.to_string()))?;
        let company = fields["company"]["name"].as_str().unwrap_or_default();
        let slug = slug_of(company)
            .ok_or_else(|| RunError::permanent(format!("no address in the name {company:?}")))?;
        let page =
            self.templates.get_template("page.html").and_then(|page| page.render(Serde(&fields)));
        let page = page.map_err(|error| RunError::permanent(format!("the template: {error}")))?;
        let published = self.publish(&slug, job.run, page).await;
        published.map_err(|error| RunError::retry(format!("the page is not written: {error}")))?;

        let url = format!("{}/for/{slug}", self.public_url);
        let row = json!({"company": company, "abm_page_url": url});
        self.write_back(&job, &row).await?;
        Ok(url.into())
    }
}

/// `Acme Inc.` is `acme-inc`: letters and digits, and nothing that could lead elsewhere.
fn slug_of(company: &str) -> Option<String> {
    let words = company.split(|char: char| !char.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    (!words.is_empty()).then(|| words.join("-").to_ascii_lowercase())
}
