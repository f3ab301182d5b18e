<?php
// Takes notices of Reeve for a billing system such as WHMCS or Blesta. See docs/billing.md.
// Set REEVE_SECRET_FILE (the same secret as in controller.toml) and REEVE_INBOX (a folder of this program's own).

/** Whether a call is Reeve's, and not an old one (https://www.standardwebhooks.com). */
function is_authentic(string $secret, string $id, string $time, string $signatures, string $body): bool
{
    $key = str_starts_with($secret, 'whsec_') ? base64_decode(substr($secret, 6), true) : $secret;
    if ($key === false || strlen($key) < 24 || !ctype_digit($time) || abs(time() - (int) $time) > 300) {
        return false;
    }
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$time.$body", $key, true));
    foreach (explode(' ', $signatures) as $signature) {
        if (hash_equals($expected, $signature)) {
            return true;
        }
    }
    return false;
}

/** The number of a service whose tenant is `whmcs-NUMBER`; null of others. */
function service_of(string $tenant): ?int
{
    return preg_match('/\Awhmcs-([1-9][0-9]{0,9})\z/', $tenant, $found) ? (int) $found[1] : null;
}

function answer(int $status): never
{
    http_response_code($status);
    exit;
}

$body = file_get_contents('php://input', false, null, 0, 1 << 20);
$id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
$secret = rtrim(file_get_contents(getenv('REEVE_SECRET_FILE')), "\n");
$time = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
if (!is_authentic($secret, $id, $time, $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '', $body)) {
    answer(401);
}
$notice = json_decode($body, true)['data'] ?? null;
if (!is_array($notice)) {
    answer(400);
}
$service = service_of($notice['tenant']);
if ($service === null) {
    answer(204); // Not one of ours: taken, so that it does not come again.
}
// The same notice may come twice. Whoever has a database puts `webhook-id` under a unique key instead.
$path = getenv('REEVE_INBOX') . '/' . hash('sha256', $id);
$line = json_encode(['service' => $service, 'kind' => $notice['kind'], 'subject' => $notice['subject'], 'case' => $notice['case']]);
if (!file_exists($path)) {
    // In WHMCS: localAPI('AddClientNote', ...) or localAPI('OpenTicket', ...) here.
    if (file_put_contents("$path.part", $line . "\n") === false || !rename("$path.part", $path)) {
        answer(503); // It comes again.
    }
}
answer(204);
