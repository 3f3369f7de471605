//! The console, as a browser without scripts has it: pages, forms, a cookie.

mod destinations;
mod endpoints;
mod events;
mod forgery;
mod form;
mod hostile;
mod pages;
mod ploybooks;
mod rights;
mod sessions;
mod stub;
mod subscriptions;
mod workspaces;

use std::cell::RefCell;

use reqwest::header::{CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, StatusCode};

use crate::harness::{ROOT_TOKEN, Server};

/// A browser that has one cookie, and goes where it is sent only when it is told to.
struct Browser {
    url: String,
    http: reqwest::Client,
    cookie: RefCell<Option<String>>,
}

/// A request that carries a form.
trait Form {
    fn form(self, fields: &[(impl AsRef<str>, impl AsRef<str>)]) -> Self;
}

impl Form for RequestBuilder {
    fn form(self, fields: &[(impl AsRef<str>, impl AsRef<str>)]) -> Self {
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(fields);
        self.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(text.finish())
    }
}

/// What a browser has got.
#[derive(Debug)]
struct Page {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Browser {
    fn at(url: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        Self { url: url.to_owned(), http, cookie: RefCell::new(None) }
    }

    /// Signed in by that token.
    async fn of(server: &Server, token: &str) -> Self {
        let browser = Self::at(&server.url);
        let page = browser.sign_in(token).await;
        assert_eq!(page.status, 303, "{}", page.body);
        browser
    }

    async fn of_root(server: &Server) -> Self {
        Self::of(server, ROOT_TOKEN).await
    }

    async fn sign_in(&self, token: &str) -> Page {
        self.send(self.request(Method::POST, "/console/sign-in").form(&[("token", token)])).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &*self.cookie.borrow() {
            Some(cookie) => request.header(COOKIE, cookie),
            None => request,
        }
    }

    async fn send(&self, request: RequestBuilder) -> Page {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        for set in headers.get_all(SET_COOKIE) {
            let pair = set.to_str().unwrap().split(';').next().unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            if name.ends_with("ploy_console") {
                let kept = (!value.is_empty()).then(|| pair.to_owned());
                *self.cookie.borrow_mut() = kept;
            }
        }
        Page { status, headers, body: response.text().await.unwrap() }
    }

    async fn get(&self, path: &str) -> Page {
        self.send(self.request(Method::GET, path)).await
    }

    /// A page that is there.
    async fn page(&self, path: &str) -> String {
        let page = self.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.body);
        page.body
    }

    /// The form of that page which goes to that address, filled in as it is but for these fields.
    async fn fill(&self, path: &str, action: &str, fields: &[(&str, &str)]) -> Page {
        let page = self.page(path).await;
        self.submit(&form::of(&page, action), action, fields).await
    }

    /// Sends a form, with these fields in place of what is filled in.
    async fn submit(
        &self,
        filled: &[(String, String)],
        action: &str,
        fields: &[(&str, &str)],
    ) -> Page {
        let is_replaced = |name: &str| fields.iter().any(|(other, _)| *other == name);
        let kept = filled.iter().filter(|(name, _)| !is_replaced(name));
        let kept = kept.map(|(name, value)| (name.as_str(), value.as_str()));
        let all: Vec<_> = kept.chain(fields.iter().copied()).collect();
        self.send(self.request(Method::POST, action).form(&all)).await
    }

    /// What a form of this session carries.
    async fn form_token(&self) -> String {
        let filled = form::of(&self.page("/console").await, "/console/sign-out");
        filled.into_iter().find(|(name, _)| name == "form_token").unwrap().1
    }

    /// Presses the button that has a form of its own, and follows it to the page where it is seen.
    async fn press(&self, path: &str, action: &str) -> String {
        let page = self.fill(path, action, &[]).await;
        self.follow(&page).await
    }

    /// Goes where the answer to a form leads.
    async fn follow(&self, page: &Page) -> String {
        assert_eq!(page.status, 303, "{}", page.body);
        self.page(page.location()).await
    }
}

impl Page {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    fn location(&self) -> &str {
        self.header(LOCATION.as_str())
    }
}

/// The text between these two in a page.
fn between<'a>(page: &'a str, before: &str, after: &str) -> &'a str {
    let rest = page.split_once(before).unwrap_or_else(|| panic!("no `{before}` in {page}")).1;
    rest.split_once(after).unwrap().0
}

/// What stands in the box that is copied from.
fn copied(page: &str, id: &str) -> String {
    form::unescaped(between(page, &format!("<pre id=\"{id}\" tabindex=\"0\"><code>"), "</code>"))
}
