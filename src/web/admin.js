// What anybody may know: whether the server is ready.
const { ready, disk } = await (await fetch('readyz')).json();
document.querySelector('#ready').textContent = `${ready ? 'Ready' : 'Not ready'}, disk ${disk}`;
