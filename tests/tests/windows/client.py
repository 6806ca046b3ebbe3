"""Logs in as it is told on standard input, a list of tries, and says on standard output what it heard.

impacket and pyspnego answer NTLM, pyspnego and MIT's library SPNEGO, MIT's library GSSAPI.
"""
import base64, concurrent.futures, hashlib, json, os, smtplib, ssl, struct, sys, time

host, port = sys.argv[1:3]
NAME = "post.corp.postern.test"


def end_point(post, kind):
    """What binds to this TLS connection (RFC 5929), rightly or wrongly."""
    if kind == "none":
        return b""
    digest = hashlib.sha256(post.sock.getpeercert(True)).digest()
    if kind == "wrong":
        digest = digest[:-1] + bytes([digest[-1] ^ 1])
    return b"tls-server-end-point:" + digest


def impacket(one, bound):
    from impacket import ntlm
    version = one.get("version", 2) == 2
    first = ntlm.getNTLMSSPType1("", one["domain"], False, use_ntlmv2=version)
    token = hashlib.md5(b"\0" * 16 + struct.pack("<I", len(bound)) + bound).digest() if bound else b""

    def step(challenge):
        if challenge is None:
            return first.getData()
        last, _ = ntlm.getNTLMSSPType3(first, challenge, one["name"], one["password"], one["domain"],
                                       use_ntlmv2=version, channel_binding_value=token)
        return last.getData()
    return step


def pyspnego(one, bound):
    import spnego
    from spnego.channel_bindings import GssChannelBindings
    kind = "ntlm" if one["mechanism"] == "NTLM" else "negotiate"
    name = "\\".join(filter(None, [one["domain"], one["name"]]))
    bindings = GssChannelBindings(application_data=bound) if bound else None
    options = spnego.NegotiateOptions.use_negotiate if kind == "negotiate" else spnego.NegotiateOptions.use_ntlm
    context = spnego.client(name, one["password"], hostname=NAME, service="smtp", protocol=kind,
                            channel_bindings=bindings, options=options)
    return lambda challenge: context.step(challenge or None)


def mit(one, bound):
    import gssapi
    from gssapi.raw import ChannelBindings
    kind = {"GSSAPI": "1.2.840.113554.1.2.2", "GSS-SPNEGO": "1.3.6.1.5.5.2"}[one["mechanism"]]
    service = one.get("service", "smtp") + "/" + NAME + "@" + one.get("realm", "CORP.POSTERN.TEST")
    context = gssapi.SecurityContext(
        name=gssapi.Name(service, gssapi.NameType.kerberos_principal), usage="initiate",
        creds=gssapi.Credentials(usage="initiate", store={"ccache": "FILE:" + one["ticket"]}),
        mech=gssapi.OID.from_int_seq(kind),
        channel_bindings=ChannelBindings(application_data=bound) if bound else None)

    def step(challenge):
        if not context.complete:
            return context.step(challenge or None)
        if one["mechanism"] == "GSSAPI":
            offer = context.unwrap(challenge).message
            assert offer[0] & 1, offer
            return context.wrap(b"\1\0\0\0", False).message
        return b""
    return step


def spoiled(token, how):
    """The last message of NTLM, changed on its way; any other message as it is."""
    if not token.startswith(b"NTLMSSP\0\3") or not how:
        return token
    at, = struct.unpack_from("<I", token, 24)
    token = bytearray(token)
    if how == "flags":
        token[60] ^= 0x10
    elif how == "proof":
        token[at:at + 16] = os.urandom(16)
    elif how == "no response":
        struct.pack_into("<HH", token, 20, 0, 0)
    elif how == "truncated":
        del token[-12:]
    elif how == "far away":
        struct.pack_into("<I", token, 24, 0xfffffff0)
    else:
        raise ValueError(how)
    return bytes(token)


def bare(blobs):
    """Answers with these, whatever is asked."""
    left = [bytes.fromhex(blob) for blob in blobs]
    return lambda _: left.pop(0) if left else b""


def log_in(post, one, instead=None):
    """The code and text of the last reply, and all that was sent; `instead` is sent in place of the second message."""
    if one["by"] == "smtplib":
        post.user, post.password = one["name"], one["password"]
        way = {"PLAIN": post.auth_plain, "LOGIN": post.auth_login}[one["mechanism"]]
        try:
            code, said = post.auth(one["mechanism"], way)
        except smtplib.SMTPAuthenticationError as refused:
            code, said = refused.smtp_code, refused.smtp_error
        return code, said.decode(), []
    bound = end_point(post, one.get("binding", "none"))
    ways = {"impacket": impacket, "pyspnego": pyspnego, "mit": mit}
    step = bare(one["blobs"]) if one["by"] == "nobody" else ways[one["by"]](one, bound)
    sent = [step(None)]
    first = base64.b64encode(sent[0]).decode()
    if one.get("early", True):
        code, said = post.docmd("AUTH", one["mechanism"] + " " + (first or "="))
    else:
        code, said = post.docmd("AUTH", one["mechanism"])
        if code == 334:
            code, said = post.docmd(first)
    while code == 334:
        token = step(base64.b64decode(said)) or b""
        if instead and len(sent) == 1:
            token = instead
        sent.append(spoiled(token, one.get("spoil")))
        code, said = post.docmd(base64.b64encode(sent[-1]).decode())
    return code, said.decode(), sent


def connect(one):
    post = smtplib.SMTP(host, int(port), timeout=60)
    if one.get("tls", True):
        post.starttls(context=ssl._create_unverified_context())
    post.ehlo()
    return post


def hear(one):
    instead = None
    if one.get("replay"):
        post = connect(one)
        code, _, sent = log_in(post, one)
        assert code == 235, code
        instead = sent[1]
    post = connect(one)
    begun = time.monotonic()
    try:
        code, said, _ = log_in(post, one, instead)
    except Exception as wrong:
        code, said = 0, repr(wrong)
    heard = dict(login=code, said=said, seconds=time.monotonic() - begun,
                 offered=post.esmtp_features.get("auth", "").split(), sender=0, recipient=0)
    if code and one.get("sender"):
        heard["sender"] = post.mail(one["sender"])[0]
        heard["recipient"] = post.rcpt("carol@elsewhere.test")[0]
    if code:
        post.quit()
    return heard


with concurrent.futures.ThreadPoolExecutor(8) as at_once:
    print(json.dumps(list(at_once.map(hear, json.load(sys.stdin)))))
