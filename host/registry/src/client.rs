//! Requests to one registry: where they go, who they come from, how long they take.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION};
use reqwest::{Method, Request, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;

use crate::body::{self, connection};
use crate::challenge::Challenge;
use crate::credentials::Credentials;
use crate::error::{Error, What};
use crate::reference::Reference;
use crate::route;

/// How long a connection may take to open, and be silent.
const CONNECT: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_secs(30);
/// How often an answer may send us to another address.
const REDIRECTS: usize = 5;
/// The most bytes of an answer with a token.
const TOKEN: u64 = 64 << 10;

/// What a push or a pull may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most bytes of a component.
    pub component: u64,
    /// How long all of it may take.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { component: 32 << 20, time: Duration::from_secs(300) }
    }
}

impl Limits {
    /// Runs a push or a pull within the time.
    pub(crate) async fn within<T>(
        self,
        reference: &Reference,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let slow = || Error::TooSlow { host: reference.host.clone(), limit: self.time };
        tokio::time::timeout(self.time, work).await.unwrap_or_else(|_| Err(slow()))
    }
}

/// What is done with a name; a token is asked for no more than that.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Action {
    Pull,
    Push,
}

/// One registry and one name in it.
pub(crate) struct Client<'a> {
    http: reqwest::Client,
    reference: &'a Reference,
    action: Action,
    origin: Url,
    credentials: Credentials,
    /// What the registry was told, once it has asked.
    authorization: Option<HeaderValue>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl<'a> Client<'a> {
    pub fn new(reference: &'a Reference, action: Action) -> Result<Self, Error> {
        // Selects `ring` for cryptography; only the first call has an effect.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let host = &reference.host;
        let mut http = reqwest::Client::builder()
            // Redirects are followed here, each after a look at it.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .referer(false)
            .user_agent(concat!("pipehost/", env!("CARGO_PKG_VERSION")));
        let origin = reference.origin();
        if origin.starts_with("http:") {
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| connection(host, &error))?;
        let origin = Url::parse(&origin).map_err(|error| protocol(host, &error))?;
        let credentials = Credentials::read(host)?;
        Ok(Self { http, reference, action, origin, credentials, authorization: None })
    }

    pub fn host(&self) -> &str {
        &self.reference.host
    }

    /// A request for something below the name.
    pub fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, Error> {
        let url = format!("/v2/{}/{path}", self.reference.name);
        Ok(self.http.request(method, self.join(&self.origin, &url)?))
    }

    /// A request for an address that an answer named.
    pub fn request_at(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url)
    }

    /// Sends a request, with credentials if the registry asks for them.
    ///
    /// # Errors
    /// If there is no answer. An answer with an error is none, but for missing credentials.
    pub async fn send(&mut self, request: RequestBuilder) -> Result<Response, Error> {
        let request = request.build().map_err(|error| connection(self.host(), &error))?;
        let response = self.follow(&request).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        if self.authorization.is_some() {
            return Err(self.unauthorized());
        }
        self.authorize(&response).await?;
        let response = self.follow(&request).await?;
        match response.status() {
            StatusCode::UNAUTHORIZED => Err(self.unauthorized()),
            _ => Ok(response),
        }
    }

    /// Sends a request, to other addresses too if it may go there.
    async fn follow(&self, request: &Request) -> Result<Response, Error> {
        let mut url = request.url().clone();
        for _ in 0..=REDIRECTS {
            let mut request = request.try_clone().expect("all bodies are bytes");
            *request.url_mut() = url.clone();
            // Others must not learn who we are.
            if let Some(who) = self.authorization.as_ref().filter(|_| self.is_own(&url)) {
                request.headers_mut().insert(AUTHORIZATION, who.clone());
            }
            let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
            let response = self.http.execute(request).await;
            let response = response.map_err(|error| connection(self.host(), &error))?;
            if !is_read || !response.status().is_redirection() {
                return Ok(response);
            }
            url = self.location(&response)?;
        }
        Err(Error::TooManyRedirects { host: self.host().to_owned(), limit: REDIRECTS })
    }

    /// The address that an answer names, if we go there.
    pub fn location(&self, response: &Response) -> Result<Url, Error> {
        let location = response.headers().get(LOCATION).and_then(|text| text.to_str().ok());
        let location = location.ok_or_else(|| protocol(self.host(), &"it names no Location"))?;
        let to = self.join(response.url(), location)?;
        self.check(&to).map(|()| to)
    }

    fn check(&self, to: &Url) -> Result<(), Error> {
        let Some(why) = route::refusal(&self.origin, to) else { return Ok(()) };
        let to = to.origin().ascii_serialization();
        Err(Error::Astray { host: self.host().to_owned(), to, why })
    }

    fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.origin.origin()
    }

    fn join(&self, base: &Url, text: &str) -> Result<Url, Error> {
        base.join(text).map_err(|error| protocol(self.host(), &error))
    }

    /// Gets what the registry asks for in this answer.
    async fn authorize(&mut self, response: &Response) -> Result<(), Error> {
        if !self.is_own(response.url()) {
            return Err(protocol(self.host(), &"the place that it names asks for credentials"));
        }
        let text = match (Challenge::of(response.headers()), &self.credentials) {
            (None, _) => return Err(protocol(self.host(), &"it does not say how to sign in")),
            (Some(Challenge::Bearer { realm, service }), _) => {
                format!("Bearer {}", self.token(&realm, service.as_deref()).await?)
            }
            (Some(Challenge::Basic), Credentials::Password { user, password, .. }) => {
                use base64::Engine as _;
                let text =
                    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
                format!("Basic {text}")
            }
            (Some(Challenge::Basic), _) => return Err(self.unauthorized()),
        };
        let mut header = HeaderValue::try_from(text)
            .map_err(|_| protocol(self.host(), &"its token is no token"))?;
        header.set_sensitive(true);
        self.authorization = Some(header);
        Ok(())
    }

    /// A token from the address that the registry names.
    async fn token(&self, realm: &str, service: Option<&str>) -> Result<String, Error> {
        let mut url = Url::parse(realm).map_err(|error| protocol(self.host(), &error))?;
        self.check(&url)?;
        let actions = match self.action {
            Action::Pull => "pull",
            Action::Push => "pull,push",
        };
        let scope = format!("repository:{}:{actions}", self.reference.name);
        url.query_pairs_mut().append_pair("scope", &scope);
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        let mut request = self.http.get(url);
        if let Credentials::Password { user, password, .. } = &self.credentials {
            request = request.basic_auth(user, Some(password));
        }
        let response = request.send().await.map_err(|error| connection(self.host(), &error))?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.unauthorized()),
            _ => return Err(body::refusal(response, self.host()).await),
        }
        let body = body::read(response, TOKEN, What::Token, self.host()).await?;
        let token = serde_json::from_slice::<Token>(&body).ok();
        token
            .and_then(|token| token.token.or(token.access_token))
            .ok_or_else(|| protocol(self.host(), &"it gives out no token"))
    }

    fn unauthorized(&self) -> Error {
        let host = self.host().to_owned();
        match &self.credentials {
            Credentials::Anonymous => Error::NoCredentials { host },
            Credentials::Password { file, .. } => Error::Refused { host, file: file.clone() },
            Credentials::Helper(helper) => Error::Helper { host, helper: helper.clone() },
        }
    }

    /// The error of an answer that is none of the expected ones.
    pub async fn refusal(&self, response: Response) -> Error {
        match response.status() {
            StatusCode::NOT_FOUND => Error::Missing(self.reference.to_string()),
            StatusCode::FORBIDDEN if matches!(self.credentials, Credentials::Anonymous) => {
                Error::Missing(self.reference.to_string())
            }
            _ => body::refusal(response, self.host()).await,
        }
    }
}

pub(crate) fn protocol(host: &str, why: &dyn std::fmt::Display) -> Error {
    Error::Protocol { host: host.to_owned(), why: why.to_string() }
}
