"""Checks recorded exchanges with Amazon SES and Resend against what these services publish of their APIs.

SES: the model in botocore, which Amazon's clients are made of: operation, members, types, bounds, the
signature (Signature Version 4) and the answers. Resend: the types of its own client.

usage: python describe.py FILE, a JSON list of exchanges; prints what is wrong with them.
"""
import base64
import json
import sys
from datetime import datetime

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import botocore.loaders
import botocore.model
import botocore.parsers
import botocore.validate
import pydantic
import resend

KEYS = botocore.credentials.Credentials('AKIAIOSFODNN7EXAMPLE', 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY')
MODEL = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model('sesv2', 'service-2'), 'sesv2')
SEND_EMAIL = MODEL.operation_model('SendEmail')


def json_members(shape, value):
    """The value with each blob as octets, as botocore's validator wants it."""
    if shape.type_name == 'blob' and isinstance(value, str):
        return base64.b64decode(value, validate=True)
    if shape.type_name == 'structure' and isinstance(value, dict):
        return {name: json_members(shape.members[name], member) if name in shape.members else member
                for name, member in value.items()}
    if shape.type_name == 'list' and isinstance(value, list):
        return [json_members(shape.member, member) for member in value]
    return value


def ses_signature(exchange):
    """What the signature should be, made by botocore of what was sent."""
    headers = dict(exchange['headers'])
    authorization = headers['authorization']
    fields = dict(part.strip().split('=', 1) for part in authorization.split(' ', 1)[1].split(','))
    _, _, region, service, _ = fields['Credential'].split('/')
    signed = {name: headers[name] for name in fields['SignedHeaders'].split(';')}
    url = 'http://' + headers['host'] + exchange['path']
    request = botocore.awsrequest.AWSRequest(exchange['method'], url, signed, exchange['body'])
    request.context['timestamp'] = headers['x-amz-date']
    auth = botocore.auth.SigV4Auth(KEYS, service, region)
    canonical = auth.canonical_request(request)
    return fields['Signature'], auth.signature(auth.string_to_sign(request, canonical), request)


def ses_body(exchange):
    shape = SEND_EMAIL.input_shape
    report = botocore.validate.ParamValidator().validate(json_members(shape, json.loads(exchange['body'])), shape)
    if report.has_errors():
        yield report.generate_report()


def ses_request(exchange):
    http = SEND_EMAIL.http
    if (exchange['method'], exchange['path']) != (http['method'], http['requestUri']):
        yield f"it is no {http['method']} {http['requestUri']}"
    yield from ses_body(exchange)
    seen, expected = ses_signature(exchange)
    if seen != expected:
        yield f'its signature is {seen} and should be {expected}'
    datetime.strptime(dict(exchange['headers'])['x-amz-date'], '%Y%m%dT%H%M%SZ')


def ses_answer(exchange):
    parser = botocore.parsers.create_parser(MODEL.protocol)
    answer = {'status_code': exchange['status'], 'headers': dict(exchange['answer_headers']), 'body': exchange['answer']}
    parsed = parser.parse(answer, SEND_EMAIL.output_shape)
    if exchange['status'] >= 300:
        codes = {shape.name for shape in SEND_EMAIL.error_shapes}
        if parsed['Error']['Code'] not in codes or not parsed['Error']['Message']:
            yield f"the model has no such error: {parsed['Error']}"
        return
    if not isinstance(parsed.get('MessageId'), str):
        yield f'no MessageId: {parsed}'
    unknown = set(json.loads(exchange['answer'])) - set(SEND_EMAIL.output_shape.members)
    if unknown:
        yield f'the model has no {unknown}'


def only_known_members(typed):
    """Refuses members that the type does not name, which a TypedDict alone would let through."""
    for known in (typed, resend.Attachment, resend.RemoteAttachment, resend.emails._tag.Tag):
        known.__pydantic_config__ = pydantic.ConfigDict(extra='forbid', strict=True)
    return pydantic.TypeAdapter(typed)


RESEND_SEND = only_known_members(resend.Emails.SendParams)


def refusal(adapter, text):
    try:
        adapter.validate_json(text)
    except pydantic.ValidationError as error:
        yield str(error)


def resend_body(exchange):
    yield from refusal(RESEND_SEND, exchange['body'])


def resend_request(exchange):
    if (exchange['method'], exchange['path']) != ('POST', '/emails'):
        yield 'it is no POST /emails'
    yield from resend_body(exchange)


def resend_answer(exchange):
    answer = json.loads(exchange['answer'])
    if exchange['status'] < 300:
        if set(answer) != {'id'} or not isinstance(answer['id'], str):
            yield f'it is no id alone: {answer}'
    # `resend.exceptions.raise_for_code_and_type` reads these.
    elif not (isinstance(answer.get('message'), str) and isinstance(answer.get('name'), str)):
        yield f'it has no message and name: {answer}'


CHECKS = {
    'ses': (ses_request, ses_answer, ses_body, 'Content'),
    'resend': (resend_request, resend_answer, resend_body, 'to'),
}


def spoilt(exchange, member):
    """The same exchange with an unknown member, with this member of a wrong type, and without it."""
    body = json.loads(exchange['body'])
    without = {name: value for name, value in body.items() if name != member}
    for worse in ({**body, 'NoSuchMember': True}, {**body, member: 7}, without):
        yield {**exchange, 'body': json.dumps(worse).encode()}


def octets(exchange):
    decoded = {name: base64.b64decode(exchange[name]) for name in ('body', 'answer')}
    return {**exchange, **decoded}


def main():
    exchanges = [octets(exchange) for exchange in json.load(open(sys.argv[1]))]
    wrong = []
    for service, (check_request, check_answer, check_body, member) in CHECKS.items():
        own = [exchange for exchange in exchanges if exchange['service'] == service]
        for exchange in own:
            for fault in (*check_request(exchange), *check_answer(exchange)):
                wrong.append(f"{service}: {fault}\n{exchange['body'][:2000]}\n{exchange['answer'][:2000]}")
        statuses = [exchange['status'] < 300 for exchange in own]
        if not (any(statuses) and not all(statuses)):
            wrong.append(f'{service}: no success or no error among {len(own)} exchanges')
        for worse in spoilt(own[0], member) if own else ():
            if not list(check_body(worse)):
                wrong.append(f"{service}: not refused: {worse['body'][:2000]}")
    print('\n'.join(wrong))
    sys.exit(1 if wrong else 0)


main()
