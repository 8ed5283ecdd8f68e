# The portal of LemonLDAP::NG with its static files and a line for each request.
use Plack::Builder;
use Lemonldap::NG::Portal::Main;

builder {
    enable 'AccessLog', format => '%m %U %>s';
    enable 'Static',
      path => sub { s{^/static/}{} },
      root => '/usr/share/lemonldap-ng/portal/htdocs/static';
    Lemonldap::NG::Portal::Main->run( {} );
};
