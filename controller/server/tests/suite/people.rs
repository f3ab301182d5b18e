//! Accounts of people at a running controller: setting up, logging in, and everything by which somebody else might.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use crate::common::{self, Running, call};
use data_encoding::BASE32_NOPAD;
use reeve_controller::auth::Role;
use reeve_controller::auth::password::{code_at, step_at};
use reeve_controller::clock;
use reeve_controller::pki::{self, Wanted};
use reeve_controller::settings;
use reeve_proto::operator::v1::access_service_client::AccessServiceClient;
use reeve_proto::operator::v1::approval_service_client::ApprovalServiceClient;
use reeve_proto::operator::v1::operator_service_client::OperatorServiceClient;
use reeve_proto::operator::v1::person_service_client::PersonServiceClient;
use reeve_proto::operator::v1::{
    AddPersonRequest, ApproveRequest, BeginSetUpRequest, FinishSetUpRequest, ListPeopleRequest,
    ListSessionsRequest, LoginRequest, LoginResponse, LogoutRequest, PauseTarget, RemovePersonRequest,
    ResetPersonRequest, ResumeRequest, RevokeRequest, RevokeSessionRequest, Role as WireRole, WatchRequest,
    WhoAmIRequest, pause_target, revoke_request,
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

const WHO: &str = "/reeve.operator.v1.AccessService/WhoAmI";
const PASSWORD: &str = "a horse, a battery";
const WRONG: &str = "the name, the password or the code is wrong, or the code was used before";

async fn house() -> (tempfile::TempDir, Running, Channel) {
    house_with("").await
}

/// The same with settings.
async fn house_with(text: &str) -> (tempfile::TempDir, Running, Channel) {
    let dir = tempfile::tempdir().unwrap();
    let people = [(Role::Admin, "root"), (Role::Admin, "chief")];
    let people = people.map(|(role, name)| (role, name.parse().unwrap())).to_vec();
    pki::init(dir.path(), &Wanted { people, ..Wanted::default() }).unwrap();
    if common::IS_ON_POSTGRES {
        common::share(dir.path(), &reeve_cluster::Cluster::of_this_process().database().unwrap());
    }
    let path = dir.path().join(settings::FILE_NAME);
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    std::fs::write(path, before + text).unwrap();
    let controller = Running::start(dir.path()).await;
    let admin = root(&controller, dir.path()).await;
    (dir, controller, admin)
}

async fn root(controller: &Running, dir: &Path) -> Channel {
    controller.secure(dir, &dir.join("operators"), "root").await
}

/// A way in without a certificate, from one address of this machine or another.
struct Door(Endpoint);

impl Door {
    /// A new connection: one that shows nothing is cut after a while.
    async fn open(&self) -> Channel {
        self.0.connect().await.unwrap()
    }
}

fn from(controller: &Running, dir: &Path, address: &str) -> Door {
    let ca = std::fs::read(dir.join("ca.crt")).unwrap();
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
    let endpoint = Endpoint::from_shared(format!("https://{}", controller.address)).unwrap();
    let address: IpAddr = address.parse().unwrap();
    Door(endpoint.local_address(Some(address)).tls_config(tls).unwrap())
}

/// The step of now, not so near to its end that it is another one soon.
async fn step() -> u64 {
    while clock::now().as_nanos() / 1_000_000_000 % 30 > 20 {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    step_at(clock::now())
}

/// Somebody with a second factor.
struct Somebody {
    name: String,
    secret: Vec<u8>,
    recovery: Vec<String>,
}

async fn invited(admin: &Channel, name: &str, role: WireRole, addresses: &[&str]) -> Result<String, Status> {
    let addresses = addresses.iter().map(ToString::to_string).collect();
    let request = AddPersonRequest { name: name.into(), role: role.into(), addresses };
    Ok(PersonServiceClient::new(admin.clone()).add_person(request).await?.into_inner().invitation)
}

async fn set_up(bare: &Door, invitation: &str) -> Result<Somebody, Status> {
    let mut client = PersonServiceClient::new(bare.open().await);
    let begun = client.begin_set_up(BeginSetUpRequest { invitation: invitation.into() }).await?.into_inner();
    let secret = BASE32_NOPAD.decode(begun.secret.as_bytes()).unwrap();
    assert_eq!(secret.len(), 20);
    assert!(begun.uri.starts_with(&format!("otpauth://totp/Reeve:{}?secret={}&", begun.name, begun.secret)));
    let code = code_at(&secret, step().await - 1);
    let request = FinishSetUpRequest { invitation: invitation.into(), password: PASSWORD.into(), code };
    let mut client = PersonServiceClient::new(bare.open().await);
    let recovery = client.finish_set_up(request).await?.into_inner().recovery_codes;
    Ok(Somebody { name: begun.name, secret, recovery })
}

/// Adds an operator and sets the account up.
async fn operator(admin: &Channel, bare: &Door, name: &str) -> Somebody {
    let invitation = invited(admin, name, WireRole::Operator, &[]).await.unwrap();
    set_up(bare, &invitation).await.unwrap()
}

async fn login(door: &Door, name: &str, password: &str, code: &str) -> Result<LoginResponse, Status> {
    let request = LoginRequest { name: name.into(), password: password.into(), code: code.into() };
    PersonServiceClient::new(door.open().await).login(request).await.map(tonic::Response::into_inner)
}

impl Somebody {
    async fn login(&self, door: &Door, step: u64) -> Result<LoginResponse, Status> {
        login(door, &self.name, PASSWORD, &code_at(&self.secret, step)).await
    }
}

fn showing<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn code<T>(result: Result<T, Status>) -> Code {
    result.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_is_invited_sets_up_logs_in_and_out() {
    let (dir, controller, admin) = house().await;
    let bare = from(&controller, dir.path(), "127.0.0.1");
    for name in ["local", "token.x", "", "../x"] {
        assert_eq!(code(invited(&admin, name, WireRole::Viewer, &[]).await), Code::InvalidArgument, "{name}");
    }
    let invitation = invited(&admin, "ann", WireRole::Operator, &[]).await.unwrap();
    assert_eq!(code(invited(&admin, "ann", WireRole::Viewer, &[]).await), Code::AlreadyExists);
    // Nobody logs in before it is set up, nor with a password that is short, nor with a wrong code.
    assert_eq!(code(login(&bare, "ann", "", "").await), Code::Unauthenticated);
    for (password, code_of) in [("short", 0), (PASSWORD, 9)] {
        let mut client = PersonServiceClient::new(bare.open().await);
        let begun = client.begin_set_up(BeginSetUpRequest { invitation: invitation.clone() }).await.unwrap();
        let secret = BASE32_NOPAD.decode(begun.into_inner().secret.as_bytes()).unwrap();
        let code_of = code_at(&secret, step().await + code_of);
        let request =
            FinishSetUpRequest { invitation: invitation.clone(), password: password.into(), code: code_of };
        let mut client = PersonServiceClient::new(bare.open().await);
        assert_eq!(code(client.finish_set_up(request).await), Code::InvalidArgument, "{password}");
    }
    let ann = set_up(&bare, &invitation).await.unwrap();
    assert_eq!(ann.recovery.len(), 10);
    assert_eq!(code(set_up(&bare, &invitation).await), Code::Unauthenticated, "it is good once");
    assert_eq!(code(set_up(&bare, "reeve_invitation_x").await), Code::Unauthenticated);

    let begun = ann.login(&bare, step().await).await.unwrap();
    assert_eq!(
        (begun.idle.unwrap().seconds, begun.session.as_ref().unwrap().role()),
        (1_800, WireRole::Operator)
    );
    let who =
        AccessServiceClient::new(bare.open().await).who_am_i(showing(&begun.token, WhoAmIRequest {})).await;
    let who = who.unwrap().into_inner();
    assert_eq!((who.name.as_str(), who.role(), who.shown.as_str()), ("ann", WireRole::Operator, "session"));
    // Its role and no more; it is nobody else's, and what is not quite it is nothing.
    let tokens =
        call(&bare.open().await, "/reeve.operator.v1.AccessService/ListTokens", Some(&begun.token)).await;
    assert_eq!(code(tokens), Code::PermissionDenied);
    for wrong in
        [&begun.token[..begun.token.len() - 1], "reeve_session_", &begun.session.as_ref().unwrap().id]
    {
        assert_eq!(code(call(&bare.open().await, WHO, Some(wrong)).await), Code::Unauthenticated, "{wrong}");
    }
    // No secret of all that is on the disk, which outlives the controller.
    controller.stop().await;
    let mut secrets =
        vec![PASSWORD.as_bytes().to_vec(), begun.token.as_bytes()[14..].to_vec(), ann.secret.clone()];
    secrets.extend(ann.recovery.iter().map(|code| code.as_bytes().to_vec()));
    secrets.push(invitation.as_bytes()[17..].to_vec());
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let is_in = |secret: &Vec<u8>| bytes.windows(secret.len()).any(|window| window == &secret[..]);
            assert!(!secrets.iter().any(is_in), "{}", path.display());
        }
    }
    let controller = Running::start(dir.path()).await;
    let (admin, bare) = (root(&controller, dir.path()).await, from(&controller, dir.path(), "127.0.0.1"));
    assert_eq!(code(call(&bare.open().await, WHO, Some(&begun.token)).await), Code::Ok);
    let mut client = PersonServiceClient::new(bare.open().await);
    assert_eq!(code(client.logout(showing(&begun.token, LogoutRequest {})).await), Code::Ok);
    assert_eq!(
        code(call(&bare.open().await, WHO, Some(&begun.token)).await),
        Code::Unauthenticated,
        "it is over"
    );
    let by_certificate = PersonServiceClient::new(admin.clone()).logout(LogoutRequest {}).await;
    assert_eq!(code(by_certificate), Code::FailedPrecondition);
    let people =
        PersonServiceClient::new(admin).list_people(ListPeopleRequest {}).await.unwrap().into_inner();
    let person = &people.people[0];
    assert!(person.ready && person.invitation_expire_time.is_none());
    assert_eq!((person.recovery_codes, person.invited_by.as_str()), (10, "root"));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_once_and_no_answer_tells_who_there_is() {
    let (dir, controller, admin) = house().await;
    let bare = from(&controller, dir.path(), "127.0.0.1");
    let ann = operator(&admin, &bare, "ann").await;
    let now = step().await;
    // That of the setting up was used, as was what was used to log in, and what is older.
    let first = ann.login(&bare, now).await.unwrap();
    let told = |answer: Result<LoginResponse, Status>| {
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated, "{status:?}");
        status.message().to_owned()
    };
    let mut answers = vec![told(ann.login(&bare, now).await), told(ann.login(&bare, now - 1).await)];
    assert!(ann.login(&bare, now + 1).await.is_ok(), "the next one");
    let good = code_at(&ann.secret, now + 1);
    for (name, password, code) in
        [("ann", PASSWORD, good.as_str()), ("nobody", PASSWORD, "123456"), ("../etc", "", "")]
    {
        answers.push(told(login(&bare, name, password, code).await));
    }
    assert!(answers.iter().all(|answer| answer == WRONG), "{answers:?}");
    // Recovery codes, however they are typed; each once. By two at a time, one gets in.
    let other = from(&controller, dir.path(), "127.0.9.1");
    let code_of = ann.recovery[0].replace('-', "").to_uppercase();
    let (one, two) = tokio::join!(
        login(&bare, "ann", PASSWORD, &code_of),
        login(&other, "ann", PASSWORD, &ann.recovery[0]),
    );
    assert_eq!(u8::from(one.is_ok()) + u8::from(two.is_ok()), 1, "{one:?} {two:?}");
    assert_eq!(told(login(&other, "ann", PASSWORD, &ann.recovery[0]).await), WRONG);
    assert!(login(&other, "ann", PASSWORD, &ann.recovery[1]).await.is_ok());
    // Each session is its own: a token is made anew at each login.
    assert_eq!(code(call(&bare.open().await, WHO, Some(&first.token)).await), Code::Ok);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_guesses_waits_and_locks_nobody_else_out() {
    let (dir, controller, admin) = house().await;
    let bare = from(&controller, dir.path(), "127.0.0.1");
    let ann = operator(&admin, &bare, "ann").await;
    let home = from(&controller, dir.path(), "127.0.7.1");
    assert!(ann.login(&home, step().await).await.is_ok(), "her network is known from now on");
    // Somebody guesses codes, with the right password even, and passwords, all at once.
    let bad = from(&controller, dir.path(), "127.0.66.6");
    let mut guesses = tokio::task::JoinSet::new();
    for number in 0..60_u32 {
        let channel = bad.open().await;
        let password = if number % 2 == 0 { PASSWORD.to_owned() } else { format!("guess number {number}") };
        let request = LoginRequest { name: "ann".into(), password, code: format!("{:06}", number * 7) };
        guesses.spawn(async move { PersonServiceClient::new(channel).login(request).await });
    }
    let mut codes = Vec::new();
    while let Some(answer) = guesses.join_next().await {
        codes.push(code(answer.unwrap()));
    }
    let made = codes.iter().filter(|code| **code == Code::Unauthenticated).count();
    assert!((1..=8).contains(&made), "{made} of 60 were compared");
    assert!(codes.iter().all(|code| matches!(code, Code::Unauthenticated | Code::ResourceExhausted)));
    // There the right code waits as well: nobody learns by it that it was right.
    let wait = |status: &Status| {
        let (_, rest) = status.message().split_once("wait ").unwrap_or_else(|| panic!("{status:?}"));
        rest.split_once(' ').unwrap().0.parse::<u64>().unwrap()
    };
    loop {
        let refused = login(&bad, "ann", "a wrong one, again", "000000").await.unwrap_err();
        match refused.code() {
            Code::ResourceExhausted if wait(&refused) >= 8 => break,
            Code::ResourceExhausted => tokio::time::sleep(Duration::from_millis(100)).await,
            other => assert_eq!(other, Code::Unauthenticated, "{refused:?}"),
        }
    }
    let late = login(&bad, "ann", PASSWORD, &ann.recovery[0]).await.unwrap_err();
    assert_eq!(late.code(), Code::ResourceExhausted, "{late:?}");
    // A name that is none is no different.
    let mut unknown = Vec::new();
    while unknown.last() != Some(&Code::ResourceExhausted) && unknown.len() < 12 {
        unknown.push(code(login(&bad, "nobody", PASSWORD, "000000").await));
    }
    assert_eq!(unknown[..3], [Code::Unauthenticated; 3]);
    assert_eq!(unknown.last(), Some(&Code::ResourceExhausted), "{unknown:?}");
    // She gets in, from where she was before and from elsewhere, and others do from where the guesses came.
    assert!(login(&home, "ann", PASSWORD, &ann.recovery[0]).await.is_ok());
    let cafe = from(&controller, dir.path(), "127.0.8.1");
    assert!(login(&cafe, "ann", PASSWORD, &ann.recovery[1]).await.is_ok());
    let ben = operator(&admin, &bare, "ben").await;
    assert!(login(&bad, "ben", PASSWORD, &ben.recovery[0]).await.is_ok());
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_by_time_by_hand_and_with_their_account() {
    let (dir, controller, admin) = house().await;
    let bare = from(&controller, dir.path(), "127.0.0.1");
    let (ann, ben) = (operator(&admin, &bare, "ann").await, operator(&admin, &bare, "ben").await);
    let now = step().await;
    let of_ann = ann.login(&bare, now).await.unwrap();
    let of_ben = ben.login(&bare, now).await.unwrap();
    let id = |begun: &LoginResponse| begun.session.clone().unwrap().id;
    let mut client = PersonServiceClient::new(bare.open().await);
    // One sees and ends one's own, administrators all.
    let own =
        client.list_sessions(showing(&of_ann.token, ListSessionsRequest {})).await.unwrap().into_inner();
    assert_eq!(own.sessions.iter().map(|one| one.id.clone()).collect::<Vec<_>>(), [id(&of_ann)]);
    let others = showing(&of_ann.token, RevokeSessionRequest { id: id(&of_ben) });
    assert_eq!(code(client.revoke_session(others).await), Code::NotFound);
    let mut root_client = PersonServiceClient::new(admin.clone());
    let all = root_client.list_sessions(ListSessionsRequest {}).await.unwrap().into_inner();
    assert_eq!(all.sessions.len(), 2);
    let watch = showing(&of_ben.token, WatchRequest::default());
    let mut watched = OperatorServiceClient::new(bare.open().await).watch(watch).await.unwrap().into_inner();
    root_client.revoke_session(RevokeSessionRequest { id: id(&of_ben) }).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), watched.message()).await.expect("it ends");
    assert!(ended.is_err(), "what it watched is cut");
    let bare = from(&controller, dir.path(), "127.0.0.1");
    assert_eq!(code(call(&bare.open().await, WHO, Some(&of_ben.token)).await), Code::Unauthenticated);
    assert_eq!(
        code(call(&bare.open().await, WHO, Some(&of_ann.token)).await),
        Code::Ok,
        "nobody else is touched"
    );

    // A reset ends them, and takes password, codes and recovery codes.
    let reset =
        root_client.reset_person(ResetPersonRequest { name: "ann".into() }).await.unwrap().into_inner();
    let bare = from(&controller, dir.path(), "127.0.0.1");
    assert_eq!(code(call(&bare.open().await, WHO, Some(&of_ann.token)).await), Code::Unauthenticated);
    assert_eq!(code(login(&bare, "ann", PASSWORD, &ann.recovery[0]).await), Code::Unauthenticated);
    let again = set_up(&bare, &reset.invitation).await.unwrap();
    assert_ne!(again.secret, ann.secret);
    assert_eq!(code(login(&bare, "ann", PASSWORD, &ann.recovery[1]).await), Code::Unauthenticated);
    let of_ann = login(&bare, "ann", PASSWORD, &again.recovery[0]).await.unwrap();
    let of_ben = login(&bare, "ben", PASSWORD, &ben.recovery[0]).await.unwrap();
    // So does revoking the person, whatever they show.
    let subject = Some(revoke_request::Subject::Person("ben".into()));
    AccessServiceClient::new(admin.clone())
        .revoke(RevokeRequest { subject, reason: "left".into() })
        .await
        .unwrap();
    let bare = from(&controller, dir.path(), "127.0.0.1");
    assert_eq!(code(call(&bare.open().await, WHO, Some(&of_ben.token)).await), Code::Unauthenticated);
    assert_eq!(code(call(&bare.open().await, WHO, Some(&of_ann.token)).await), Code::Ok);
    controller.stop().await;

    // By time: silent for too long, then too old; moved to the past, as no clock can be here.
    for (change, word) in
        [("UPDATE sessions SET seen = 1", "over"), ("UPDATE sessions SET expires = 1", "over")]
    {
        assert!(common::execute(dir.path(), change).await > 0, "{change}");
        let controller = Running::start(dir.path()).await;
        let bare = from(&controller, dir.path(), "127.0.0.1");
        let refused = call(&bare.open().await, WHO, Some(&of_ann.token)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert!(refused.message().contains(word), "{}", refused.message());
        controller.stop().await;
    }
    let controller = Running::start(dir.path()).await;
    let admin = root(&controller, dir.path()).await;
    let mut client = PersonServiceClient::new(admin);
    let remove = || RemovePersonRequest { name: "ann".into() };
    client.remove_person(remove()).await.unwrap();
    assert_eq!(code(client.remove_person(remove()).await), Code::NotFound);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_end_with_whoever_made_them() {
    let (dir, controller, admin) = house().await;
    let bare = from(&controller, dir.path(), "127.0.0.1");
    let make = async |door: Channel, shown: Option<&str>, name: &str| {
        let made = reeve_proto::operator::v1::CreateTokenRequest {
            name: name.into(),
            role: WireRole::Admin.into(),
            ..Default::default()
        };
        let request = shown.map_or_else(|| Request::new(made.clone()), |shown| showing(shown, made.clone()));
        AccessServiceClient::new(door).create_token(request).await.unwrap().into_inner().token
    };
    let of_root = make(admin.clone(), None, "of-root").await;
    let chief = controller.secure(dir.path(), &dir.path().join("operators"), "chief").await;
    let of_chief = make(chief, None, "of-chief").await;
    for name in ["removed", "reset"] {
        let invitation = invited(&admin, name, WireRole::Admin, &[]).await.unwrap();
        let somebody = set_up(&bare, &invitation).await.unwrap();
        let session = login(&bare, name, PASSWORD, &somebody.recovery[0]).await.unwrap().token;
        let first = make(bare.open().await, Some(&session), &format!("of-{name}")).await;
        let second = make(bare.open().await, Some(&first), &format!("of-of-{name}")).await;
        assert_eq!(code(call(&bare.open().await, WHO, Some(&second)).await), Code::Ok);
        let watching = OperatorServiceClient::new(bare.open().await)
            .watch(showing(&second, WatchRequest::default()))
            .await;
        let mut watched = watching.unwrap().into_inner();
        let mut people = PersonServiceClient::new(admin.clone());
        if name == "reset" {
            people.reset_person(ResetPersonRequest { name: name.into() }).await.unwrap();
        } else {
            people.remove_person(RemovePersonRequest { name: name.into() }).await.unwrap();
        }
        for token in [&first, &second] {
            assert_eq!(code(call(&bare.open().await, WHO, Some(token)).await), Code::Unauthenticated);
        }
        // What is followed with one is cut at once.
        let cut = async { while watched.message().await.is_ok_and(|told| told.is_some()) {} };
        tokio::time::timeout(Duration::from_secs(5), cut).await.expect("it is cut");
    }
    let person = Some(revoke_request::Subject::Person("chief".into()));
    let revoke = RevokeRequest { subject: person, reason: String::new() };
    AccessServiceClient::new(admin.clone()).revoke(revoke).await.unwrap();
    // Nobody is removed who has no account, nor are their tokens.
    let remove = RemovePersonRequest { name: "root".into() };
    let nobody = PersonServiceClient::new(admin.clone()).remove_person(remove).await;
    assert_eq!(code(nobody), Code::NotFound);
    // It is in the database, and told.
    controller.stop().await;
    let controller = Running::start(dir.path()).await;
    let bare = from(&controller, dir.path(), "127.0.0.1");
    assert_eq!(code(call(&bare.open().await, WHO, Some(&of_chief)).await), Code::Unauthenticated);
    assert_eq!(code(call(&bare.open().await, WHO, Some(&of_root)).await), Code::Ok);
    let admin = root(&controller, dir.path()).await;
    let listed = AccessServiceClient::new(admin)
        .list_tokens(reeve_proto::operator::v1::ListTokensRequest {})
        .await
        .unwrap()
        .into_inner();
    let good = listed.tokens.iter().filter(|token| token.revoke_time.is_none());
    assert_eq!(good.map(|token| token.name.as_str()).collect::<Vec<_>>(), ["of-root"]);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_the_password_does_not_guess_the_code_from_many_networks() {
    let (dir, controller, admin) = house().await;
    let home = from(&controller, dir.path(), "127.0.0.1");
    let ann = operator(&admin, &home, "ann").await;
    login(&home, "ann", PASSWORD, &ann.recovery[0]).await.unwrap();
    for number in 0..7 {
        let there = from(&controller, dir.path(), &format!("127.0.{}.1", 10 + number));
        for _ in 0..3 {
            let refused = login(&there, "ann", PASSWORD, "no-code").await.unwrap_err();
            assert_eq!(refused.message(), WRONG);
        }
    }
    let elsewhere = from(&controller, dir.path(), "127.0.30.1");
    let refused = login(&elsewhere, "ann", PASSWORD, &ann.recovery[1]).await.unwrap_err();
    assert_eq!(refused.message(), WRONG, "right, and refused as any other");
    login(&home, "ann", PASSWORD, &ann.recovery[1])
        .await
        .expect("from where she was before it is taken, and was not used up");
    let reset = ResetPersonRequest { name: "ann".into() };
    let reset = PersonServiceClient::new(admin.clone()).reset_person(reset).await.unwrap().into_inner();
    let ann = set_up(&home, &reset.invitation).await.unwrap();
    login(&elsewhere, "ann", PASSWORD, &ann.recovery[0]).await.expect("a reset forgets it");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_taken_from_its_addresses_alone() {
    let (dir, controller, admin) = house().await;
    let bare = from(&controller, dir.path(), "127.0.0.1");
    let invitation =
        invited(&admin, "ann", WireRole::Viewer, &["127.0.5.0/24", "2001:db8::/32"]).await.unwrap();
    assert_eq!(code(set_up(&bare, &invitation).await), Code::Unauthenticated);
    let there = from(&controller, dir.path(), "127.0.5.5");
    let ann = set_up(&there, &invitation).await.unwrap();
    let refused = login(&bare, "ann", PASSWORD, &ann.recovery[0]).await.unwrap_err();
    assert_eq!(refused.message(), WRONG, "the same words as ever");
    let begun = login(&there, "ann", PASSWORD, &ann.recovery[0]).await.unwrap();
    assert_eq!(code(call(&there.open().await, WHO, Some(&begun.token)).await), Code::Ok);
    assert_eq!(
        code(call(&bare.open().await, WHO, Some(&begun.token)).await),
        Code::PermissionDenied,
        "carried elsewhere"
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_in_the_line_of_who_invited_whom_is_a_second_person() {
    let (dir, controller, admin) = house_with("[approval]\n").await;
    let bare = from(&controller, dir.path(), "127.0.0.1");
    let add = |by: String, name: &'static str| {
        let request =
            AddPersonRequest { name: name.into(), role: WireRole::Admin.into(), ..Default::default() };
        let bare = from(&controller, dir.path(), "127.0.0.1");
        async move {
            let mut client = PersonServiceClient::new(bare.open().await);
            let added = client.add_person(showing(&by, request)).await.unwrap();
            let somebody = set_up(&bare, &added.into_inner().invitation).await.unwrap();
            login(&bare, name, PASSWORD, &somebody.recovery[0]).await.unwrap().token
        }
    };
    let invitation = invited(&admin, "alice", WireRole::Admin, &[]).await.unwrap();
    let alice = set_up(&bare, &invitation).await.unwrap();
    let alice = login(&bare, "alice", PASSWORD, &alice.recovery[0]).await.unwrap().token;
    let (bob, ben) = (add(alice.clone(), "bob").await, add(alice.clone(), "ben").await);
    let carol = add(bob.clone(), "carol").await;
    let made = reeve_proto::operator::v1::CreateTokenRequest {
        name: "of-bob".into(),
        role: WireRole::Admin.into(),
        ..Default::default()
    };
    let made = AccessServiceClient::new(bare.open().await).create_token(showing(&bob, made)).await;
    let of_bob = made.unwrap().into_inner().token;
    let asks = async |token: &str| {
        let target = Some(PauseTarget { target: Some(pause_target::Target::Fleet(true)) });
        let asked = ResumeRequest { target, ..ResumeRequest::default() };
        let mut client = OperatorServiceClient::new(bare.open().await);
        let waits = client.resume(showing(token, asked)).await.unwrap_err();
        waits.metadata().get(reeve_controller::approval::KEY).unwrap().to_str().unwrap().to_owned()
    };
    let approves = async |token: &str, id: &str| {
        let request = showing(token, ApproveRequest { id: id.to_owned(), reason: String::new() });
        code(ApprovalServiceClient::new(bare.open().await).approve(request).await)
    };
    let (of_alice, of_carol) = (asks(&alice).await, asks(&carol).await);
    let by_bob = asks(&bob).await;
    for (who, token, id) in [
        ("whom she invited", &bob, &of_alice),
        ("a token of whom she invited", &of_bob, &of_alice),
        ("who was invited by whom she invited", &carol, &of_alice),
        ("who invited", &alice, &by_bob),
        ("who invited who invited", &alice, &of_carol),
    ] {
        assert_eq!(approves(token, id).await, Code::PermissionDenied, "{who}");
    }
    // Who was in between is gone, and another of that name is not her.
    let remove = RemovePersonRequest { name: "bob".into() };
    PersonServiceClient::new(bare.open().await).remove_person(showing(&alice, remove)).await.unwrap();
    assert_eq!(approves(&carol, &of_alice).await, Code::PermissionDenied);
    assert_eq!(approves(&alice, &of_carol).await, Code::PermissionDenied);
    // Who resets an account has the invitation, and who made it up may have it still.
    let chief = controller.secure(dir.path(), &dir.path().join("operators"), "chief").await;
    let reset = ResetPersonRequest { name: "carol".into() };
    let reset = PersonServiceClient::new(chief.clone()).reset_person(reset).await.unwrap().into_inner();
    let again = set_up(&bare, &reset.invitation).await.unwrap();
    let carol = login(&bare, "carol", PASSWORD, &again.recovery[0]).await.unwrap().token;
    assert_eq!(approves(&carol, &of_alice).await, Code::PermissionDenied);
    let approve = ApproveRequest { id: of_carol.clone(), reason: String::new() };
    let by_chief = ApprovalServiceClient::new(chief).approve(approve).await;
    assert_eq!(code(by_chief), Code::PermissionDenied);
    // Two whom one person invited are two.
    assert_eq!(approves(&ben, &of_carol).await, Code::Ok);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_session_is_a_second_person_to_who_made_it_or_is_it() {
    let (dir, controller, admin) = house_with("[approval]\n").await;
    let bare = from(&controller, dir.path(), "127.0.0.1");
    let chief = controller.secure(dir.path(), &dir.path().join("operators"), "chief").await;
    let mut tokens = Vec::new();
    // An account of her own name, one that she invited, one of whom she asked a token to, and one that somebody else invited.
    let made = reeve_proto::operator::v1::CreateTokenRequest {
        name: "helper".into(),
        role: WireRole::Admin.into(),
        ..Default::default()
    };
    let helper = AccessServiceClient::new(admin.clone()).create_token(made).await.unwrap().into_inner().token;
    let by_helper =
        AddPersonRequest { name: "puppet".into(), role: WireRole::Admin.into(), ..Default::default() };
    let mut invitations = vec![
        invited(&admin, "root", WireRole::Admin, &[]).await.unwrap(),
        invited(&admin, "ann", WireRole::Operator, &[]).await.unwrap(),
    ];
    let client = PersonServiceClient::new(bare.open().await).add_person(showing(&helper, by_helper)).await;
    invitations.push(client.unwrap().into_inner().invitation);
    invitations.push(invited(&chief, "ben", WireRole::Operator, &[]).await.unwrap());
    for invitation in invitations {
        let somebody = set_up(&bare, &invitation).await.unwrap();
        let begun = login(&bare, &somebody.name, PASSWORD, &somebody.recovery[0]).await.unwrap();
        tokens.push((somebody.name, begun.token));
    }
    let target = Some(PauseTarget { target: Some(pause_target::Target::Fleet(true)) });
    let asked = ResumeRequest { target, ..ResumeRequest::default() };
    let waits = OperatorServiceClient::new(admin.clone()).resume(asked.clone()).await.unwrap_err();
    let id = waits.metadata().get(reeve_controller::approval::KEY).unwrap().to_str().unwrap().to_owned();
    for (name, token) in &tokens {
        let request = showing(token, ApproveRequest { id: id.clone(), reason: String::new() });
        let answer = ApprovalServiceClient::new(bare.open().await).approve(request).await;
        let expected = if name == "ben" { Code::Ok } else { Code::PermissionDenied };
        assert_eq!(code(answer), expected, "{name}");
    }
    // Nor by another session of the same person, by certificate, or after the session that asked is over: then it is still theirs.
    let (_, of_ben) = tokens.pop().unwrap();
    let waits =
        OperatorServiceClient::new(bare.open().await).resume(showing(&of_ben, asked)).await.unwrap_err();
    let id = waits.metadata().get(reeve_controller::approval::KEY).unwrap().to_str().unwrap().to_owned();
    PersonServiceClient::new(bare.open().await).logout(showing(&of_ben, LogoutRequest {})).await.unwrap();
    let approve = ApproveRequest { id: id.clone(), reason: String::new() };
    assert_eq!(code(ApprovalServiceClient::new(admin.clone()).approve(approve.clone()).await), Code::Ok);
    assert_eq!(code(ApprovalServiceClient::new(chief).approve(approve).await), Code::FailedPrecondition);
    controller.stop().await;
}
